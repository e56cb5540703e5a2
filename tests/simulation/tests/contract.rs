//! Do the simulated etcd and bucket keep the laws of the real ones?

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redkite_cluster::Kv;
use redkite_cluster::kv::contract::{Harness, assert_kv_contract};
use redkite_runtime::{Clock, ManualClock, simulation};
use redkite_simulation::bucket::Bucket;
use redkite_simulation::etcd::Etcd;
use redkite_simulation::trace::Trace;
use redkite_simulation::weather::{Place, Weather};
use redkite_storage::contract::assert_object_store_contract;
use redkite_types::Revision;

struct World(Arc<Etcd>);

#[async_trait]
impl Harness for World {
    async fn open(&self) -> Arc<dyn Kv> {
        self.0.client(Place::process(1))
    }

    async fn reopen(&self, _: Arc<dyn Kv>) -> Arc<dyn Kv> {
        self.0.stall();
        tokio::time::sleep(Duration::from_secs(5)).await;
        self.0.recover();
        self.0.client(Place::process(2))
    }

    async fn compact(&self, _: &dyn Kv, through: Revision) {
        self.0.compact_through(through);
    }

    fn ttl(&self) -> Duration {
        Duration::from_secs(3)
    }
}

#[tokio::test(start_paused = true)]
async fn etcd_keeps_the_laws_of_a_metastore() {
    for seed in 0..10 {
        simulation::run(seed, async {
            let weather = Weather::fine(seed);
            let etcd = Etcd::start(&weather, &Trace::start(false));
            assert_kv_contract(&World(etcd)).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_bucket_keeps_the_laws_of_an_object_store() {
    for seed in 0..10 {
        simulation::run(seed, async {
            let weather = Weather::fine(seed);
            let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1_700_000_000_000));
            let bucket = Bucket::start(&clock, &weather, &Trace::start(false)).unwrap();
            assert_object_store_contract(bucket.client(Place::process(1))).await;
        })
        .await;
    }
}
