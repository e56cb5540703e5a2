//! Replicas keep to the nodes of their resource groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redkite_tests::client::Client;
use redkite_tests::workload;

use crate::scene::{PATIENCE, Scene, Stock, json, numbers, options, stock};

const SEGMENTS: [i64; 8] = [1000, 400, 1200, 800, 600, 1000, 700, 900];
/// The resource group that a query node asks to be in.
const LABEL: &str = "MILVUS_SERVER_LABEL_qn_RESOURCE_GROUP";

/// B10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_crosses_resource_groups() {
    async fn run() -> anyhow::Result<()> {
        let mut scene = Scene::set(4, options(), &[]).await?;
        let mut client = workload::connect(scene.cluster.proxies()[0]).await?;
        client.create_resource_group("red", 1).await?;
        client.create_resource_group("blue", 2).await?;
        let once = Stock { group: Some("red"), ..Stock::of("once", &SEGMENTS) };
        let twice = Stock { group: Some("blue"), replicas: 2, ..Stock::of("twice", &SEGMENTS) };
        for one in [once, twice] {
            stock(&mut client, &one).await?;
            scene.readers.begin(scene.cluster.proxies()[0], &one);
        }
        let mut groups = Groups { scene, client };
        groups.settle(&[("red", 1), ("blue", 2)]).await?;

        // Nodes that come are nothing to full groups, whatever group they ask for.
        groups.scene.add_node(&[]).await?;
        groups.scene.cluster.add_where("querynode", LABEL, "green").await?;
        let moved = groups.scene.moved().await?.len();
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            groups.are_kept().await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ensure!(groups.scene.moved().await?.len() == moved, "segments move to nodes of other groups");

        // A node is lost, and another takes its place.
        let lost = *groups.nodes("blue").await?.first().context("blue is empty")?;
        let position = groups.scene.cluster.position(lost)?;
        groups.scene.cluster.kill(position).await?;
        groups.settle(&[("red", 1), ("blue", 2)]).await?;

        // There are fewer nodes than it asks for.
        groups.client.resize_resource_groups(&[("red", 10)]).await?;
        groups.settle(&[("red", 2), ("blue", 2)]).await?;

        // Groups change places.
        groups.client.resize_resource_groups(&[("red", 1), ("blue", 3)]).await?;
        groups.settle(&[("red", 1), ("blue", 3)]).await?;
        groups.client.resize_resource_groups(&[("red", 3), ("blue", 2)]).await?;
        groups.settle(&[("red", 2), ("blue", 2)]).await?;
        groups.scene.end("resource groups").await
    }
    run().await.unwrap_or_else(|error| panic!("{error:#}"));
}

struct Groups {
    scene: Scene,
    client: Client,
}

impl Groups {
    /// Waits until groups have so many nodes, and every replica is on nodes of its group, all of them.
    async fn settle(&mut self, sizes: &[(&str, usize)]) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.scene.readers.all_well()?;
            let mut problem = self.are_kept().await.err();
            for (group, size) in sizes {
                let nodes = self.nodes(group).await?;
                let used: BTreeSet<_> = self.used(group).await?.into_values().flatten().collect();
                if nodes.len() != *size || used != nodes {
                    problem = Some(anyhow::anyhow!("{group} has {nodes:?} and uses {used:?}, not {size}"));
                }
            }
            let Some(problem) = problem else {
                return self.scene.quiet().await;
            };
            ensure!(Instant::now() < end, "{problem}: {}", self.scene.status().await?);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// No view names a node outside the group of its replica, and no two replicas share one.
    async fn are_kept(&mut self) -> anyhow::Result<()> {
        self.scene.readers.all_well()?;
        for group in ["red", "blue"] {
            let (nodes, mut seen) = (self.nodes(group).await?, BTreeSet::new());
            for (replica, used) in self.used(group).await? {
                ensure!(used.is_subset(&nodes), "replica {replica} of {group} uses {used:?} of {nodes:?}");
                ensure!(seen.is_disjoint(&used), "replica {replica} of {group} shares {used:?}");
                seen.extend(used);
            }
        }
        Ok(())
    }

    async fn nodes(&self, group: &str) -> anyhow::Result<BTreeSet<i64>> {
        let record =
            self.scene.metastore.get(&format!("resource-group/{group}")).await?.context("no group")?;
        let alive: BTreeSet<_> = self.scene.query_nodes().into_iter().collect();
        Ok(numbers(&json(&record)?["nodes"]).intersection(&alive).copied().collect())
    }

    /// The nodes that views of each replica name.
    async fn used(&self, group: &str) -> anyhow::Result<BTreeMap<i64, BTreeSet<i64>>> {
        let mut used = BTreeMap::new();
        for entry in self.scene.metastore.range("replica/").await?.1 {
            let record = json(&entry)?;
            for (replica, about) in record["replicas"].as_object().context("replicas")? {
                if about["resource_group"] == group {
                    used.insert(replica.parse()?, BTreeSet::new());
                }
            }
        }
        for entry in self.scene.metastore.range("view/").await?.1 {
            let replica: i64 = entry.key.rsplit('/').next().context("replica")?.parse()?;
            let Some(nodes) = used.get_mut(&replica) else { continue };
            let view = json(&entry)?;
            let segments = view["segments"].as_array().context("segments")?;
            nodes.extend(segments.iter().filter_map(|segment| segment["node"].as_i64()));
        }
        Ok(used)
    }
}
