//! What do query nodes have, and what do they use?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use redkite_balance::Cpu;
use redkite_runtime::Stopping;
use redkite_service::{NodeUsage, SegmentsDirectory};
use redkite_types::{NodeId, SegmentId};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use crate::environment::Environment;

/// How often nodes are asked.
pub(super) const PAUSE: Duration = Duration::from_secs(2);
/// How long one may take to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// Nodes asked at the same time.
pub(super) const AT_ONCE: usize = 64;
/// Rates are averages over about so long: longer than a burst, shorter than an interval of balancing.
const WINDOW: Duration = Duration::from_secs(30);

/// What all nodes said last.
pub(crate) type Usages = BTreeMap<NodeId, Usage>;

/// What one node said.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// Its words.
    pub(crate) said: NodeUsage,
    /// CPU that it spends on other things than reading segments.
    pub(crate) other_cpu: Cpu,
    /// CPU that it spends on each segment.
    pub(crate) segments: BTreeMap<SegmentId, Heat>,
    at: Instant,
}

/// CPU that reads of a segment take.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heat {
    pub(crate) cpu: Cpu,
    /// For how long it has been measured on this node.
    pub(crate) measured: Duration,
}

impl Heat {
    /// Whether it has been measured long enough to be believed.
    pub(crate) fn is_settled(&self) -> bool {
        self.measured >= WINDOW
    }
}

impl Usage {
    fn new(said: NodeUsage, before: Option<&Self>) -> Self {
        let at = Instant::now();
        let Some(before) = before.filter(|before| before.said.cpu <= said.cpu) else {
            return Self { said, other_cpu: Cpu(0), segments: BTreeMap::new(), at };
        };
        let elapsed = at - before.at;
        let mut segments = BTreeMap::new();
        let mut reading = 0;
        for (segment, now) in &said.segments {
            // One that was not there before has come meanwhile: all it has used was used since.
            let then = before.said.segments.get(segment).copied().unwrap_or(0).min(*now);
            reading += now - then;
            let old = before.segments.get(segment).copied().unwrap_or_default();
            let cpu = smooth(old.cpu, now - then, elapsed);
            segments.insert(*segment, Heat { cpu, measured: old.measured + elapsed });
        }
        let other = (said.cpu - before.said.cpu).saturating_sub(reading);
        let other_cpu = smooth(before.other_cpu, other, elapsed);
        Self { said, other_cpu, segments, at }
    }

    /// CPU that the node spends.
    pub(crate) fn cpu(&self) -> Cpu {
        self.other_cpu + self.segments.values().map(|heat| heat.cpu).sum()
    }
}

/// The moving average of a rate, in millionths of a core: `spent` microseconds in `elapsed`.
pub(super) fn smooth(old: Cpu, spent: u64, elapsed: Duration) -> Cpu {
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    let rate = spent as f64 / elapsed.as_secs_f64().max(0.001);
    Cpu(average(old.0, rate, elapsed))
}

/// The moving average of what has been as it is now for so long.
pub(super) fn average(old: u64, now: f64, elapsed: Duration) -> u64 {
    let weight = -(-elapsed.as_secs_f64() / WINDOW.as_secs_f64()).exp_m1();
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    let old = old as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an average of what is not negative"
    )]
    let new = (old + (now - old) * weight).round() as u64;
    new
}

/// Asks nodes until stopped: those that appear at once, all of them from time to time.
pub(crate) async fn follow(
    environment: Environment,
    directory: Arc<dyn SegmentsDirectory>,
    told: watch::Sender<Arc<Usages>>,
    stopping: Stopping,
) {
    let mut nodes = environment.nodes.watch();
    loop {
        let alive: Vec<_> = nodes.borrow_and_update().query.alive().map(|(node, _)| node).collect();
        let Some(answers) = stopping.race(ask(&*directory, &alive)).await else { return };
        told.send_modify(|usages| {
            let before = std::mem::take(Arc::make_mut(usages));
            let mut now = Usages::new();
            for (node, answer) in answers {
                let before = before.get(&node);
                // One that does not answer may hang: what it said before is the best there is.
                let usage = answer.map(|said| Usage::new(said, before)).or_else(|| before.cloned());
                now.extend(usage.map(|usage| (node, usage)));
            }
            *usages = Arc::new(now);
        });
        let missing = told.borrow().len() < alive.len();
        let pause = if missing { PAUSE / 10 } else { PAUSE };
        let wait = tokio::time::timeout(pause, nodes.changed());
        if stopping.race(wait).await.is_none() {
            return;
        }
    }
}

async fn ask(directory: &dyn SegmentsDirectory, nodes: &[NodeId]) -> Vec<(NodeId, Option<NodeUsage>)> {
    let one = |node: NodeId| async move {
        let asking = async { directory.node(node).await?.usage().await };
        let answer = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(usage)) => Some(usage),
            Ok(Err(error)) => {
                debug!(%node, %error, "node does not say what it uses");
                None
            }
            Err(_) => None,
        };
        (node, answer)
    };
    stream::iter(nodes.iter().copied()).map(one).buffer_unordered(AT_ONCE).collect().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_settles_within_a_few_windows() {
        let mut rate = Cpu(0);
        for _ in 0..60 {
            rate = smooth(rate, 1_000_000, Duration::from_secs(2));
        }
        assert!((480_000..=500_000).contains(&rate.0), "{rate}");
        for _ in 0..120 {
            rate = smooth(rate, 0, Duration::from_secs(2));
        }
        assert!(rate.0 < 1000, "{rate}");
    }
}
