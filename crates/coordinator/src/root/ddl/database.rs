//! `CreateDatabase`, `DropDatabase`, `AlterDatabase`.

use redkite_catalog::{DEFAULT_DATABASE_ID, DatabaseRecord, Properties};
use redkite_service::{Error, Result};
use redkite_types::DatabaseId;

use super::super::RootSettings;
use super::lookup;
use crate::command::Draft;
use crate::step::Step;

pub(super) fn create(
    draft: &mut Draft<'_>,
    settings: &RootSettings,
    name: &str,
    properties: &Properties,
) -> Result<Step> {
    if draft.metadata.database(name).is_some() {
        return Err(Error::invalid(format!("database already exist: {name}")));
    }
    if draft.metadata.databases.len() >= settings.max_database_num {
        return Err(Error::DatabaseNumLimit { limit: settings.max_database_num });
    }
    let id = DatabaseId(draft.id()?);
    let record =
        DatabaseRecord { id, name: name.to_owned(), properties: properties.clone(), created_at: draft.now };
    let mut step = Step::new("create database");
    step.replace(&id, None, &record);
    Ok(step)
}

/// Names are written by the root coordinator alone, one command at a time: none can appear meanwhile.
pub(super) fn drop(draft: &Draft<'_>, name: &str) -> Result<Step> {
    let mut step = Step::new("drop database");
    let Some(database) = draft.metadata.database(name) else {
        return Ok(step);
    };
    if database.id == DEFAULT_DATABASE_ID {
        return Err(Error::invalid("can not drop default database"));
    }
    if draft.metadata.names_in(database.id).next().is_some() {
        return Err(Error::invalid(format!(
            "database:{name} not empty, must drop all collections before drop database"
        )));
    }
    step.relies_on(&database.id, Some(database)).delete::<DatabaseRecord>(&database.id);
    Ok(step)
}

pub(super) fn alter(draft: &Draft<'_>, name: &str, set: &Properties, delete: &[String]) -> Result<Step> {
    let database = lookup::database(draft.metadata, name)?;
    let properties = lookup::changed(&database.properties, set, delete);
    let mut step = Step::new("alter database");
    if properties != database.properties {
        let record = DatabaseRecord { properties, ..(*database.record).clone() };
        step.replace(&database.id, Some(database), &record);
    }
    Ok(step)
}
