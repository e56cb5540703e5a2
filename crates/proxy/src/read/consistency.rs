//! How fresh must a read be?

use std::time::Duration;

use redkite_service::{Consistency, Error};
use redkite_types::{ConsistencyLevel, Timestamp};

use crate::refuse;

/// Timestamps by which old clients name levels instead of times.
const EVENTUAL: u64 = 1;
const BOUNDED: u64 = 2;

/// What a request says about freshness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    /// Use the level of the collection.
    pub(crate) use_default: bool,
    /// The level as it is on the wire.
    pub(crate) level: i32,
    /// The client's own timestamp.
    pub(crate) guarantee: u64,
    /// The read is a page of an iterator, whose first page fixed the timestamp.
    pub(crate) iterator: bool,
}

impl Freshness {
    /// What the shards are asked for. `default` is the collection's level, `now` the present.
    pub(crate) fn consistency(
        self,
        default: ConsistencyLevel,
        now: Timestamp,
        graceful: Duration,
    ) -> Result<Consistency, Error> {
        let given = Timestamp(self.guarantee);
        if self.iterator && self.guarantee > 0 {
            return Ok(Consistency::Snapshot(given));
        }
        let millis = u64::try_from(graceful.as_millis()).unwrap_or(u64::MAX);
        let bounded = Consistency::AtLeast(Timestamp::from_physical(now.physical().saturating_sub(millis)));
        let level = if self.use_default { default } else { self.level()? };
        Ok(match level {
            // Clients older than levels send timestamps only.
            ConsistencyLevel::Strong if !self.use_default && self.guarantee > 0 => match self.guarantee {
                BOUNDED => bounded,
                _ => at_least(given),
            },
            ConsistencyLevel::Strong => Consistency::Strong,
            ConsistencyLevel::Bounded => bounded,
            ConsistencyLevel::Eventually => Consistency::Eventual,
            ConsistencyLevel::Session | ConsistencyLevel::Customized => at_least(given),
        })
    }

    fn level(self) -> Result<ConsistencyLevel, Error> {
        ConsistencyLevel::from_wire(self.level)
            .ok_or_else(|| refuse::invalid(format_args!("consistency level {} not found", self.level)))
    }
}

fn at_least(timestamp: Timestamp) -> Consistency {
    if timestamp.0 <= EVENTUAL { Consistency::Eventual } else { Consistency::AtLeast(timestamp) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn consistency(freshness: Freshness) -> Consistency {
        let now = Timestamp::from_physical(NOW);
        freshness.consistency(ConsistencyLevel::Bounded, now, Duration::from_secs(5)).unwrap()
    }

    fn bounded() -> Consistency {
        Consistency::AtLeast(Timestamp::from_physical(NOW - 5000))
    }

    const NONE: Freshness = Freshness { use_default: false, level: 0, guarantee: 0, iterator: false };

    #[test]
    fn the_level_decides() {
        assert_eq!(consistency(Freshness { use_default: true, guarantee: 7, ..NONE }), bounded());
        assert_eq!(consistency(NONE), Consistency::Strong);
        assert_eq!(consistency(Freshness { level: 2, guarantee: 9, ..NONE }), bounded());
        assert_eq!(consistency(Freshness { level: 3, ..NONE }), Consistency::Eventual);
        let at = Consistency::AtLeast(Timestamp(99));
        assert_eq!(consistency(Freshness { level: 1, guarantee: 99, ..NONE }), at);
        assert_eq!(consistency(Freshness { level: 4, guarantee: 99, ..NONE }), at);
        assert_eq!(consistency(Freshness { level: 1, guarantee: 1, ..NONE }), Consistency::Eventual);
    }

    #[test]
    fn old_clients_name_levels_by_timestamps() {
        assert_eq!(consistency(Freshness { guarantee: 1, ..NONE }), Consistency::Eventual);
        assert_eq!(consistency(Freshness { guarantee: 2, ..NONE }), bounded());
        assert_eq!(consistency(Freshness { guarantee: 99, ..NONE }), Consistency::AtLeast(Timestamp(99)));
    }

    #[test]
    fn iterators_stay_at_their_first_page() {
        let page = Freshness { use_default: true, guarantee: 99, iterator: true, ..NONE };
        assert_eq!(consistency(page), Consistency::Snapshot(Timestamp(99)));
        assert_eq!(consistency(Freshness { guarantee: 0, ..page }), bounded());
    }

    #[test]
    fn unknown_levels_are_refused() {
        let freshness = Freshness { level: 9, ..NONE };
        assert!(freshness.consistency(ConsistencyLevel::Strong, Timestamp(1), Duration::ZERO).is_err());
    }
}
