//! One source of ids for every role of a process.

use std::sync::Arc;

use async_trait::async_trait;
use redkite_cluster::{IdAllocator, KvError};
use redkite_service::Error;

/// One source of ids for every role.
#[derive(Clone)]
pub(crate) struct SharedIds(pub(crate) Arc<IdAllocator>);

#[async_trait]
impl redkite_coordinator::Ids for SharedIds {
    async fn reserve(&self, count: u32) -> Result<i64, KvError> {
        self.0.take(count).await
    }
}

#[async_trait]
impl redkite_proxy::AutoIds for SharedIds {
    async fn allocate(&self, count: u32) -> Result<i64, Error> {
        self.0.take(count).await.map_err(|error| {
            let reason = error.to_string();
            if error.disk_full() { Error::DiskFull { reason } } else { Error::Unavailable { reason } }
        })
    }
}
