//! Does the bucket keep its word? Asked once, at start: a log on a store that lets two writers win is lost.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use futures::future::join_all;

use super::remote::Remote;
use crate::{Error, Result};

/// Where the objects of the probe are.
const PREFIX: &str = "probe/";
/// Creators of one object at the same time.
const RACERS: u8 = 8;
/// Age at which an object of a probe is nobody's any more.
const ABANDONED_MILLIS: u64 = 3_600_000;
/// Tries to get an answer to a creation.
const TRIES: usize = 5;
const FIRST: &[u8] = b"first";
const SECOND: &[u8] = b"second";

impl Remote {
    /// Checks every promise of the service that correctness rests on, with objects that are removed again.
    pub(super) async fn probe(&self) -> Result<()> {
        // Unique among all nodes that start at the same time.
        let name = format!("{PREFIX}{:016x}", RandomState::new().hash_one(std::process::id()));
        let (alone, raced) = (format!("{name}-alone"), format!("{name}-raced"));
        let probed = async {
            let now = self.probe_alone(&alone).await?;
            self.probe_race(&raced).await?;
            self.probe_delete(&alone).await?;
            self.sweep(now).await
        };
        let probed = probed.await;
        for path in [&alone, &raced] {
            if let Err(error) = self.delete(path).await {
                tracing::warn!(%error, "an object of the probe stays in the bucket");
            }
        }
        probed
    }

    /// Removes what probes left that were interrupted long before `now`, by the service's clock.
    async fn sweep(&self, now: u64) -> Result<()> {
        for entry in self.list(PREFIX).await? {
            if entry.modified_millis + ABANDONED_MILLIS < now {
                self.delete(&entry.path).await?;
            }
        }
        Ok(())
    }

    /// One creates, then another: the second is refused and changes nothing, and everybody sees the first's.
    /// Returns when that was, by the service's clock.
    async fn probe_alone(&self, path: &str) -> Result<u64> {
        match self.create(path, Bytes::from_static(FIRST)).await {
            Ok(()) | Err(Error::Unknown { .. }) => {}
            Err(Error::AlreadyExists { .. }) => {
                return Err(
                    self.lie("asked to create an object of a new name, it answered that there is one")
                );
            }
            Err(error) => return Err(error),
        }
        self.probe_second(path).await?;
        let contents = self.get(path).await;
        match contents {
            Ok(contents) if contents == FIRST => {}
            Ok(contents) if contents == SECOND => {
                return Err(self.lie("it refused to create an object that exists, and yet replaced it"));
            }
            Ok(_) => return Err(self.lie("reading an object gave other bytes than were written")),
            Err(Error::NotFound { .. }) => {
                return Err(self.lie("an object could not be read after it was written"));
            }
            Err(error) => return Err(error),
        }
        let listed = self.list(path).await?;
        match listed.as_slice() {
            [entry] if entry.path == path && entry.size == FIRST.len() as u64 => Ok(entry.modified_millis),
            _ => Err(self.lie("a list did not show an object after it was written")),
        }
    }

    async fn probe_second(&self, path: &str) -> Result<()> {
        let mut last = None;
        for _ in 0..TRIES {
            match self.create(path, Bytes::from_static(SECOND)).await {
                Err(Error::AlreadyExists { .. }) => return Ok(()),
                Ok(()) => {
                    return Err(self.lie(
                        "asked to create an object that exists (PUT with If-None-Match: *), it answered success",
                    ));
                }
                Err(error @ Error::Unknown { .. }) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.expect("every try was unknown"))
    }

    /// Many create at the same time: one may win, and the object is the winner's.
    async fn probe_race(&self, path: &str) -> Result<()> {
        let racers = (0..RACERS).map(|racer| self.create(path, Bytes::from(vec![racer])));
        let mut winners = Vec::new();
        for (racer, outcome) in (0..RACERS).zip(join_all(racers).await) {
            match outcome {
                Ok(()) => winners.push(racer),
                Err(Error::AlreadyExists { .. } | Error::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match winners.as_slice() {
            [] => Ok(()),
            [winner] if self.get(path).await? == [*winner][..] => Ok(()),
            [_] => {
                Err(self
                    .lie("of concurrent creators of one object, the one told success was not its creator"))
            }
            more => {
                Err(self.lie(&format!("{} concurrent creators of one object were told success", more.len())))
            }
        }
    }

    async fn probe_delete(&self, path: &str) -> Result<()> {
        self.delete(path).await?;
        match self.get(path).await {
            Err(Error::NotFound { .. }) => {}
            Ok(_) => return Err(self.lie("an object could still be read after it was deleted")),
            Err(error) => return Err(error),
        }
        if self.list(path).await?.is_empty() {
            return Ok(());
        }
        Err(self.lie("a list still showed an object after it was deleted"))
    }

    fn lie(&self, problem: &str) -> Error {
        Error::Unsuitable { bucket: self.name().to_owned(), problem: problem.to_owned() }
    }
}
