//! What must hold before the first command.

use redkite_catalog::{DEFAULT_DATABASE, DEFAULT_DATABASE_ID, DatabaseRecord, Properties};
use redkite_service::Result;

use crate::environment::Environment;
use crate::step::Step;

/// Lets the clock start after every timestamp it may have given out in an earlier life.
pub(super) fn observe_timestamps(environment: &Environment) {
    let latest = environment.view.read(|metadata| {
        let collections = metadata.collections.values().map(|collection| collection.updated_at);
        let dropped = metadata.dropped.values().map(|dropped| dropped.dropped_at);
        collections.chain(dropped).max()
    });
    if let Some(latest) = latest {
        environment.clock.observe(latest);
    }
}

/// Creates the default database unless it exists.
pub(super) async fn default_database(environment: &Environment) -> Result<()> {
    let missing = environment.view.read(|metadata| !metadata.databases.contains_key(&DEFAULT_DATABASE_ID));
    if missing {
        let mut step = Step::new("default database");
        let record = DatabaseRecord {
            id: DEFAULT_DATABASE_ID,
            name: DEFAULT_DATABASE.to_owned(),
            properties: Properties::new(),
            created_at: environment.clock.tick(),
        };
        step.replace(&DEFAULT_DATABASE_ID, None, &record);
        // A conflict means that it exists now.
        environment.commit_all(vec![step]).await?;
    }
    Ok(())
}
