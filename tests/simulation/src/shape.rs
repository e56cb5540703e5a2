//! What does a cluster look like, and how rough is the sea? Drawn from the seed.

use rand::Rng;
use rand::rngs::SmallRng;

/// A cluster to be.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Roles of its processes, and by how many milliseconds their clocks are ahead.
    pub machines: Vec<(&'static str, u64)>,
    /// Settings of all processes, as YAML.
    pub settings: String,
    /// Collections that many write to, with their shards.
    pub collections: Vec<i32>,
    /// Replicas that are loaded of them, as far as there are nodes.
    pub replicas: i32,
    /// How many write and read.
    pub players: usize,
    /// How many make and drop collections.
    pub definers: usize,
    /// Seconds of trouble.
    pub seconds: u64,
    /// Mean pause between two troubles, in milliseconds; none without.
    pub trouble: Option<u64>,
}

impl Shape {
    /// Draws one.
    pub fn draw(chance: &mut SmallRng) -> Self {
        let mut machines = Vec::new();
        let mut add = |job, count: usize, chance: &mut SmallRng| {
            for _ in 0..count {
                // A clock of one machine in four is off.
                let ahead = if chance.random_bool(0.25) { chance.random_range(0..2_000) } else { 0 };
                machines.push((job, ahead));
            }
        };
        match chance.random_bool(0.75) {
            true => add("mixcoord", chance.random_range(1..=3), chance),
            false => {
                for job in ["rootcoord", "datacoord", "querycoord"] {
                    add(job, chance.random_range(1..=2), chance);
                }
            }
        }
        let query_nodes = chance.random_range(1..=4);
        add("streamingnode", chance.random_range(1..=3), chance);
        add("querynode", query_nodes, chance);
        add("datanode", chance.random_range(1..=2), chance);
        add("proxy", chance.random_range(1..=2), chance);
        let collections = (0..chance.random_range(1..=2)).map(|_| chance.random_range(1..=3)).collect();
        let most = i32::try_from(query_nodes.min(2)).unwrap_or(1);
        Self {
            machines,
            settings: settings(chance),
            collections,
            replicas: chance.random_range(1..=most),
            players: chance.random_range(1..=3),
            definers: chance.random_range(0..=1),
            seconds: chance.random_range(30..=90),
            trouble: chance.random_bool(0.9).then(|| chance.random_range(800..=8_000)),
        }
    }
}

/// Times that let a minute show what takes hours elsewhere.
fn settings(chance: &mut SmallRng) -> String {
    let kilobytes = chance.random_range(2..=64);
    let interval = chance.random_range(10..=40);
    format!(
        "common:\n  gracefulStopTimeout: 20\n\
         dataCoord:\n  segment: {{maxSize: {kilobytes}KiB, maxIdleTime: {idle}}}\n  \
         gc: {{interval: {interval}, missingTolerance: 120, dropTolerance: 30}}\n\
         queryNode: {{memoryLimit: {memory}KiB}}\n\
         queryCoord: {{balanceIntervalSeconds: {pause}, minimumStaySeconds: {stay}, moveOverheadBytes: 256}}\n",
        idle = chance.random_range(5..=60),
        memory = chance.random_range(384..=2048),
        pause = chance.random_range(2..=20),
        stay = chance.random_range(1..=30),
    )
}
