//! What moves, and what has moved during the last hour?

use redkite_catalog::{MoveRecord, MovedRecord};
use redkite_types::{CollectionId, SegmentId, Timestamp};
use serde::Serialize;

use super::Seen;

/// Rows shown of moves under way, and of those that have ended.
const ROWS: usize = 100;
/// How far back, in milliseconds.
const HOUR: u64 = 3_600_000;

#[derive(Debug, Serialize)]
pub(super) struct UnderWay {
    total: usize,
    bytes: u64,
    /// The oldest first.
    moves: Vec<Moving>,
}

#[derive(Debug, Serialize)]
struct Moving {
    #[serde(flatten)]
    what: What,
    /// How long it should take in milliseconds, as moves did lately.
    expected: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Ended {
    total: usize,
    done: usize,
    refused: usize,
    dropped: usize,
    /// What those that were done have moved.
    bytes: u64,
    /// The latest first.
    moves: Vec<Moved>,
    /// What those that were done took, in milliseconds.
    #[serde(skip)]
    took: u64,
}

#[derive(Debug, Serialize)]
struct Moved {
    #[serde(flatten)]
    what: What,
    ended: u64,
    /// `done`, `refused` or `dropped`.
    result: &'static str,
    /// Why it was given up.
    why: Option<String>,
}

#[derive(Debug, Serialize)]
struct What {
    segment: String,
    collection: String,
    from: String,
    to: String,
    bytes: u64,
    reason: String,
    begun: u64,
}

/// How fast moves were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    bytes: u64,
    millis: u64,
}

impl Pace {
    fn of(self, bytes: u64) -> Option<u64> {
        let millis = u128::from(bytes) * u128::from(self.millis) / u128::from(self.bytes.max(1));
        (self.bytes > 0).then(|| u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

impl What {
    fn of(seen: &Seen<'_>, collection: CollectionId, segment: SegmentId, record: &MoveRecord) -> Self {
        Self {
            segment: segment.to_string(),
            collection: seen.name(collection),
            from: record.from.to_string(),
            to: record.to.to_string(),
            bytes: record.bytes,
            reason: record.reason.clone(),
            begun: record.begun.physical(),
        }
    }
}

impl UnderWay {
    pub(super) fn of(seen: &Seen<'_>, pace: Pace) -> Self {
        let mut all: Vec<_> = seen.records.moves.iter().collect();
        all.sort_by_key(|(key, record)| (record.begun, **key));
        let moving = |(key, record): &(&redkite_catalog::CopyKey, &redkite_catalog::Entry<MoveRecord>)| {
            let (collection, (_, segment)) = **key;
            Moving { what: What::of(seen, collection, segment, record), expected: pace.of(record.bytes) }
        };
        Self {
            total: all.len(),
            bytes: all.iter().map(|(_, record)| record.bytes).sum(),
            moves: all.iter().take(ROWS).map(moving).collect(),
        }
    }
}

impl Ended {
    pub(super) fn of(seen: &Seen<'_>) -> Self {
        let since = Timestamp::from_physical(seen.now.saturating_sub(HOUR));
        let lately: Vec<_> =
            seen.records.moved.range(format!("{:020}", since.0)..).map(|(_, moved)| moved).collect();
        let count = |result: &str| lately.iter().filter(|moved| outcome(moved) == result).count();
        let done = || lately.iter().filter(|moved| moved.dropped.is_none());
        Self {
            total: lately.len(),
            done: count("done"),
            refused: count("refused"),
            dropped: count("dropped"),
            bytes: done().map(|moved| moved.moved.bytes).sum(),
            moves: lately.iter().rev().take(ROWS).map(|moved| Moved::of(seen, moved)).collect(),
            took: done().map(|moved| took(moved)).sum(),
        }
    }

    /// How fast they were.
    pub(super) fn pace(&self) -> Pace {
        Pace { bytes: self.bytes, millis: self.took }
    }
}

impl Moved {
    fn of(seen: &Seen<'_>, record: &MovedRecord) -> Self {
        Self {
            what: What::of(seen, record.collection, record.segment, &record.moved),
            ended: record.ended.physical(),
            result: outcome(record),
            why: record.dropped.clone(),
        }
    }
}

/// As the metric names it.
fn outcome(record: &MovedRecord) -> &'static str {
    match (&record.dropped, record.refused) {
        (None, _) => "done",
        (Some(_), true) => "refused",
        (Some(_), false) => "dropped",
    }
}

fn took(record: &MovedRecord) -> u64 {
    record.ended.physical().saturating_sub(record.moved.begun.physical())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{NOW, Scene};

    #[test]
    fn moves_under_way_are_told_with_what_they_should_take() {
        let mut scene = Scene::with_nodes(&[1, 2]);
        scene.collection(7, "birds").moves(7, 71, 300, NOW - 2_000).moves(7, 72, 50, NOW - 3_000);
        scene.moved(7, 70, 100, (NOW - 9_000, NOW - 8_000), None);
        let moves = &scene.shown()["moves"];
        assert_eq!((moves["total"].as_u64(), moves["bytes"].as_u64()), (Some(2), Some(350)));
        let first = serde_json::json!({
            "segment": "72", "collection": "birds", "from": "1", "to": "2", "bytes": 50, "reason": "node_joined",
            "begun": NOW - 3_000, "expected": 500,
        });
        assert_eq!(moves["moves"][0], first);
        assert_eq!(moves["moves"][1]["expected"].as_u64(), Some(3_000));
    }

    #[test]
    fn nobody_knows_what_the_first_move_takes() {
        let mut scene = Scene::with_nodes(&[1, 2]);
        scene.moves(7, 71, 300, NOW);
        assert_eq!(scene.shown()["moves"]["moves"][0]["expected"], serde_json::Value::Null);
    }

    #[test]
    fn the_last_hour_is_told_with_results() {
        let mut scene = Scene::with_nodes(&[1, 2]);
        scene
            .moved(7, 1, 10, (NOW - 3_700_000, NOW - 3_600_001), None)
            .moved(7, 2, 20, (NOW - 3_700_000, NOW - 3_500_000), None)
            .moved(7, 3, 30, (NOW - 60_000, NOW - 50_000), Some((true, "memory limit exceeded")))
            .moved(7, 4, 40, (NOW - 60_000, NOW - 40_000), Some((false, "the segment was merged")));
        let history = &scene.shown()["history"];
        let counts =
            ["total", "done", "refused", "dropped", "bytes"].map(|name| history[name].as_u64().unwrap());
        assert_eq!(counts, [3, 1, 1, 1, 20]);
        let results: Vec<_> =
            history["moves"].as_array().unwrap().iter().map(|it| it["result"].clone()).collect();
        assert_eq!(results, ["dropped", "refused", "done"]);
        assert_eq!(history["moves"][1]["why"], "memory limit exceeded");
    }
}
