//! How long does planning take for a large cluster? `cargo run --release -p redkite-balance --example scale`
//!
//! Prints one line per question; nodes, segments and collections may be given as arguments. Sizes are spread 5 to
//! 1, capacities 4 to 1, and heat is skewed: few segments have most of it. "Over the bound" is how much more the
//! fullest node has than all would have if segments could be cut anywhere.

#![allow(clippy::unwrap_used, reason = "a measurement, not a server")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use redkite_balance::{
    BalanceSettings, Bytes, Copy, CopyId, Cpu, FixedBytes, MoveLimits, Node, NodeState, Observed, Occasion,
    Plan, Planner, Replica,
};
use redkite_types::{CollectionId, NodeId, ReplicaId, SegmentId, Timestamp};

const GIB: u64 = 1 << 30;

struct Shape {
    nodes: u64,
    segments: u64,
    collections: u64,
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().unwrap());
    let nodes = arguments.next().unwrap_or(1_000);
    let segments = arguments.next().unwrap_or(1_000_000);
    let collections = arguments.next().unwrap_or(10_000);
    let shape = Shape { nodes, segments, collections };
    println!("{nodes} nodes, {segments} segments, {collections} collections\n");
    println!(
        "| question | time ms | CPU ms | moves | GiB moved | over the bound % | CPU apart, % of CPUs |\n|---|---:|---:|---:|---:|---:|---:|"
    );

    let now = Timestamp::from_physical(1_000_000_000);
    let observed = shape.observed(|_| None);
    let watch = Watch::start();
    let mut planner = Planner::of(&observed, settings());
    println!("| taking in what is observed, segments nowhere yet | {} | | | | |", watch.read());
    let plan = ask("place everything", &mut planner, |planner| planner.plan(Occasion::Change, now));
    settle(&mut planner, &shape, &plan);
    change_collection(&mut planner, &shape, &plan);

    let lost = NodeId(7);
    let mut copy = planner.clone();
    let _ = ask("a node is lost", &mut copy, |planner| planner.after_loss(lost, now));
    let mut copy = planner.clone();
    copy.set_node(shape.node(lost.0.cast_unsigned(), NodeState::Draining));
    let _ = ask("a node is drained", &mut copy, |planner| planner.plan(Occasion::Change, now));
    let mut copy = planner.clone();
    copy.set_node(Node { joined: true, ..shape.node(nodes, NodeState::Serving) });
    let _ = ask("a node joins", &mut copy, |planner| planner.plan(Occasion::Change, now));
    let _ = ask("nothing has happened", &mut planner, |planner| planner.plan(Occasion::Interval, now));
    drop(planner);

    let random = |segment: u64| Some(NodeId((scatter(segment, 3) % shape.nodes).cast_signed()));
    let observed = shape.observed(random);
    let watch = Watch::start();
    let mut planner = Planner::of(&observed, settings());
    println!("| taking in what is observed, segments on nodes | {} | | | | |", watch.read());
    drop(observed);
    let _ = ask("everything, from anywhere", &mut planner, |planner| planner.plan(Occasion::Demand, now));
    let tenths = |segment: u64| Some(NodeId((scatter(segment, 3) % (shape.nodes * 9 / 10)).cast_signed()));
    let mut planner = Planner::of(&shape.observed(tenths), settings());
    let _ = ask("everything, a tenth of the nodes is empty", &mut planner, |planner| {
        planner.plan(Occasion::Demand, now)
    });
    let half = |segment: u64| Some(NodeId((scatter(segment, 3) % (shape.nodes / 2)).cast_signed()));
    let mut planner = Planner::of(&shape.observed(half), settings());
    let _ = ask("everything, half of the nodes are empty", &mut planner, |planner| {
        planner.plan(Occasion::Demand, now)
    });
}

fn settings() -> BalanceSettings {
    BalanceSettings::default()
}

impl Shape {
    fn node(&self, id: u64, state: NodeState) -> Node {
        Node {
            id: NodeId(id.cast_signed()),
            state,
            joined: false,
            memory: Bytes(GIB * [64, 128, 256][id as usize % 3] * self.segments / self.nodes / 400),
            fixed: FixedBytes { growing: Bytes(scatter(id, 1) % GIB), ..FixedBytes::default() },
            cpu: Cpu(16_000_000),
            fixed_cpu: Cpu(500_000),
            limits: MoveLimits::default(),
        }
    }

    fn copy(&self, segment: u64, node: Option<NodeId>) -> Copy {
        let id = CopyId {
            replica: ReplicaId((segment % self.collections).cast_signed()),
            segment: SegmentId(segment.cast_signed()),
        };
        let most = if segment.is_multiple_of(50) { 1_000_000 } else { 1_000 };
        Copy {
            id,
            bytes: Bytes((1 + scatter(segment, 0) % 5) * GIB / 30 + scatter(segment, 1) % (1 << 20)),
            cpu: Cpu(scatter(segment, 2) % most),
            node,
            moving_to: None,
            moved_at: Timestamp::ZERO,
            pinned: false,
        }
    }

    fn observed(&self, node_of: impl Fn(u64) -> Option<NodeId>) -> Observed {
        let ids: BTreeSet<_> = (0..=self.nodes).map(|id| NodeId(id.cast_signed())).collect();
        let ids = Arc::new(ids);
        let replica = |id: u64| Replica {
            id: ReplicaId(id.cast_signed()),
            collection: CollectionId(id.cast_signed()),
            nodes: ids.clone(),
        };
        Observed {
            nodes: (0..self.nodes).map(|id| self.node(id, NodeState::Serving)).collect(),
            replicas: (0..self.collections).map(replica).collect(),
            copies: (0..self.segments).map(|segment| self.copy(segment, node_of(segment))).collect(),
        }
    }
}

/// Chance from a fixed source.
fn scatter(number: u64, salt: u64) -> u64 {
    let mixed = (number ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 29)
}

/// The moves of a plan are done.
fn settle(planner: &mut Planner, shape: &Shape, plan: &Plan) {
    for one in &plan.moves {
        planner.set_copy(&shape.copy(one.copy.segment.0.cast_unsigned(), Some(one.to)));
    }
}

/// The copies of one collection are reported anew, each a little larger.
fn change_collection(planner: &mut Planner, shape: &Shape, plan: &Plan) {
    let changed = plan.moves.iter().filter(|one| one.collection == CollectionId(0)).map(|one| {
        let copy = shape.copy(one.copy.segment.0.cast_unsigned(), Some(one.to));
        Copy { bytes: copy.bytes + Bytes(1), ..copy }
    });
    let changed: Vec<_> = changed.collect();
    let watch = Watch::start();
    changed.iter().for_each(|copy| planner.set_copy(copy));
    println!("| one collection has changed, {} segments | {} | | | | |", changed.len(), watch.read());
}

fn ask(question: &str, planner: &mut Planner, ask: impl FnOnce(&mut Planner) -> Plan) -> Plan {
    let watch = Watch::start();
    let plan = ask(planner);
    let times = watch.read();
    println!(
        "| {question} | {times} | {} | {} | {:.2} | {:.1} |",
        plan.moves.len(),
        plan.bytes().0 / GIB,
        (plan.after.memory.highest.0 as f64 / plan.after.memory.mean.0 as f64 - 1.0) * 100.0,
        plan.after.cpu.difference().0 as f64 / 1e7,
    );
    plan
}

/// Two times: that on the wall, and that of the CPU, which does not count what others on the machine do.
struct Watch(Instant, u64);

impl Watch {
    fn start() -> Self {
        Self(Instant::now(), on_cpu())
    }

    fn read(&self) -> String {
        let wall = self.0.elapsed().as_secs_f64() * 1e3;
        format!("{wall:.2} | {:.1}", on_cpu().saturating_sub(self.1) as f64 / 1e6)
    }
}

/// Nanoseconds of CPU this thread has had, as Linux tells; nothing elsewhere.
fn on_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0)
}
