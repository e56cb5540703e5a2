//! One file per definition command: records and arguments in, one transaction out.

mod alias;
mod alter_collection;
mod alter_field;
mod create_collection;
mod database;
mod drop_collection;
mod lookup;
mod partition;
mod rename_collection;
mod truncate_collection;

use redkite_service::{Ddl, Result};
use redkite_types::limits;

use super::RootSettings;
use crate::command::Draft;
use crate::step::Step;

/// Most fresh ids that the command needs.
#[must_use]
pub fn ids_needed(command: &Ddl) -> u32 {
    match command {
        Ddl::CreateCollection(new) => 1 + u32::try_from(new.partitions.len()).unwrap_or(u32::MAX - 1),
        Ddl::CreateDatabase { .. } | Ddl::CreatePartition { .. } => 1,
        // How many partitions there are is known later; ids are plenty.
        Ddl::TruncateCollection { .. } => limits::MAX_PARTITIONS as u32,
        _ => 0,
    }
}

/// The transaction that carries out a command; an empty one if its effect is there already.
///
/// # Errors
/// If the command is refused; nothing has changed then.
pub fn plan(draft: &mut Draft<'_>, settings: &RootSettings, command: &Ddl) -> Result<Step> {
    match command {
        Ddl::CreateDatabase { name, properties } => database::create(draft, settings, name, properties),
        Ddl::DropDatabase { name } => database::drop(draft, name),
        Ddl::AlterDatabase { name, set, delete } => database::alter(draft, name, set, delete),
        Ddl::CreateCollection(new) => create_collection::plan(draft, settings, new),
        Ddl::DropCollection { database, collection } => drop_collection::plan(draft, database, collection),
        Ddl::TruncateCollection { database, collection } => {
            truncate_collection::plan(draft, database, collection)
        }
        Ddl::RenameCollection { database, collection, new_database, new_name } => {
            rename_collection::plan(draft, database, collection, new_database, new_name)
        }
        Ddl::AlterCollection { database, collection, set, delete } => {
            alter_collection::plan(draft, database, collection, set, delete)
        }
        Ddl::AlterField { database, collection, field, set, delete } => {
            alter_field::alter(draft, database, collection, field, set, delete)
        }
        Ddl::AddField { database, collection, field } => {
            alter_field::add(draft, database, collection, &field.field)
        }
        Ddl::CreatePartition { database, collection, partition } => {
            partition::create(draft, settings, database, collection, partition)
        }
        Ddl::DropPartition { database, collection, partition } => {
            partition::drop(draft, database, collection, partition)
        }
        Ddl::CreateAlias { database, collection, alias } => alias::create(draft, database, collection, alias),
        Ddl::AlterAlias { database, collection, alias } => alias::alter(draft, database, collection, alias),
        Ddl::DropAlias { database, alias } => alias::drop(draft, database, alias),
    }
}
