//! Random writes, flushes, loads and restarts against a map.

use std::collections::BTreeMap;

use proptest::prelude::*;
use redkite_service::WriteOp;
use redkite_types::{PartitionId, PrimaryKeys};

use super::LOGS;
use crate::world::{OTHER, PARTITION, SHARD, World, rows, settings};

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<i64>, i64, PartitionId),
    Upsert(Vec<i64>, i64, PartitionId),
    Delete(Vec<i64>, Option<PartitionId>),
    Flush,
    Publish,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = || prop::collection::btree_set(0_i64..20, 1..6).prop_map(|keys| keys.into_iter().collect());
    let partition = || prop_oneof![Just(PARTITION), Just(OTHER)];
    let step = prop_oneof![
        4 => (keys(), 0_i64..1000, partition()).prop_map(|(k, v, p)| Step::Insert(k, v, p)),
        4 => (keys(), 0_i64..1000, partition()).prop_map(|(k, v, p)| Step::Upsert(k, v, p)),
        4 => (keys(), prop::option::of(partition())).prop_map(|(k, p)| Step::Delete(k, p)),
        2 => Just(Step::Flush),
        2 => Just(Step::Publish),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 5..25)
}

/// Every row ever written and not deleted: (key, partition, value), newest last.
#[derive(Default)]
struct Model(Vec<(i64, PartitionId, i64)>);

impl Model {
    fn delete(&mut self, keys: &[i64], partition: Option<PartitionId>) {
        self.0.retain(|(key, of, _)| {
            !keys.contains(key) || partition.is_some_and(|partition| partition != *of)
        });
    }

    fn insert(&mut self, keys: &[i64], partition: PartitionId, value: i64) {
        self.0.extend(keys.iter().map(|key| (*key, partition, value)));
    }

    fn latest(&self) -> BTreeMap<i64, i64> {
        self.0.iter().map(|(key, _, value)| (*key, *value)).collect()
    }
}

async fn take(mut world: World, model: &mut Model, step: Step) -> World {
    match step {
        Step::Insert(keys, value, partition) => {
            world.write(WriteOp::Insert(vec![(partition, rows(&keys, value))])).await.unwrap();
            model.insert(&keys, partition, value);
        }
        Step::Upsert(keys, value, partition) => {
            world.write(WriteOp::Upsert(vec![(partition, rows(&keys, value))])).await.unwrap();
            model.delete(&keys, Some(partition));
            model.insert(&keys, partition, value);
        }
        Step::Delete(keys, partition) => {
            model.delete(&keys, partition);
            let keys = PrimaryKeys::Int64(keys);
            world.write(WriteOp::Delete { partition, keys }).await.unwrap();
        }
        Step::Flush => {
            world.flush().await;
        }
        Step::Publish => {
            world.publish().await;
        }
        Step::Restart => {
            world = world.restart().await;
            world.holder.clear();
            for record in world.ground.flushed(SHARD) {
                world.holder.load(&world.node, &world.ground, &record).await;
            }
            world.publish().await;
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 40, ..ProptestConfig::default() })]
    #[test]
    fn reads_equal_the_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(LOGS, settings()).await;
            let mut model = Model::default();
            for step in steps {
                world = take(world, &mut model, step).await;
                assert_eq!(world.count().await, model.0.len() as u64);
                assert_eq!(world.all().await, model.latest());
            }
            world.stop().await;
        });
    }
}
