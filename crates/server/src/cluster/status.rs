//! What does `/healthz` tell while the process waits for others, and afterwards?

use std::sync::Arc;

use parking_lot::RwLock;

use super::Role;
use crate::http::{Health, HealthCheck};

/// The state of the roles of this process.
pub(super) struct Status {
    roles: &'static [Role],
    stage: RwLock<Stage>,
}

enum Stage {
    /// What is waited for.
    Starting(String),
    Started(HealthCheck),
}

impl Status {
    pub(super) fn of(roles: &'static [Role]) -> Self {
        Self { roles, stage: RwLock::new(Stage::Starting("starting".to_owned())) }
    }

    /// Something is missing.
    pub(super) fn waits_for(&self, what: String) {
        *self.stage.write() = Stage::Starting(what);
    }

    /// From now on the roles answer for themselves.
    pub(super) fn started(&self, check: HealthCheck) {
        *self.stage.write() = Stage::Started(check);
    }

    pub(super) fn check(self: &Arc<Self>) -> HealthCheck {
        let status = self.clone();
        Arc::new(move || {
            let stage = status.stage.read();
            match &*stage {
                Stage::Started(check) => check(),
                Stage::Starting(what) => {
                    let problem =
                        |role: &Role| Health { problems: vec![what.clone()], ..Health::of(role.name()) };
                    let problems = status.roles.iter().map(problem).collect();
                    Box::pin(async move { problems })
                }
            }
        })
    }
}
