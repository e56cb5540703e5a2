//! The laws of the metastore, on etcd.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redkite_cluster::kv::contract::{Harness, assert_kv_contract};
use redkite_cluster::kv::{EtcdKv, Kv};
use redkite_types::Revision;

use crate::server::Etcd;

struct OnEtcd {
    etcd: Etcd,
    current: Mutex<Option<Arc<EtcdKv>>>,
}

#[async_trait]
impl Harness for OnEtcd {
    async fn open(&self) -> Arc<dyn Kv> {
        let store = self.etcd.kv();
        *self.current.lock() = Some(store.clone());
        store
    }

    async fn reopen(&self, _: Arc<dyn Kv>) -> Arc<dyn Kv> {
        self.etcd.kill();
        self.etcd.restart();
        self.open().await
    }

    async fn compact(&self, _: &dyn Kv, through: Revision) {
        let store = self.current.lock().clone().unwrap();
        store.compact(through).await.unwrap();
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(2)
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    assert_kv_contract(&OnEtcd { etcd: Etcd::start(), current: Mutex::new(None) }).await;
}
