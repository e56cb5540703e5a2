//! How does a watch go on, without gap or repetition, whatever happens to its streams?
//!
//! The position is the revision up to which everything was given out. A new feed begins *at* it, not
//! after it, and what is not beyond it is dropped: so etcd refuses exactly when a revision after the
//! position may be lost to compaction (a deletion in the compacted revision itself is not kept).
//!
//! A feed is silent about revisions that do not touch its keys. When the store is known to have gone
//! further, an `inquiry` finds out how far the silence reaches, so that the follower learns it too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, stream};
use redkite_runtime::Backoff;
use redkite_types::Revision;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::client::Client;
use super::convert::{KeyRange, Keys};
use super::failure::{Answer, Failed, Failures, Kind};
use super::feed::{Ended, Feed, News};
use super::inquiry::Inquiry;
use crate::kv::{KvError, Watch, WatchBatch};

/// How long events may take from the store to here before their absence is looked into.
const GRACE: Duration = Duration::from_millis(25);
/// Pauses between inquiries while one watch stays behind.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Logins in a row that did not help.
const LOGINS: u32 = 2;

/// Follows the changes under `prefix` from revision `from` on.
pub(super) async fn start(
    client: Arc<Client>,
    keys: Keys,
    prefix: &str,
    from: Revision,
) -> Result<Watch, KvError> {
    let mut follower = Follower {
        range: keys.range(prefix),
        keys,
        position: from.0.saturating_sub(1).max(0),
        ready: VecDeque::new(),
        feed: None,
        inquiry: None,
        seen: client.seen(),
        next_inquiry: Instant::now(),
        pauses: Backoff::new(SHORTEST_PAUSE, LONGEST_PAUSE),
        breaks: Backoff::new(Duration::from_millis(10), Duration::from_secs(1)),
        client,
    };
    let until = Instant::now() + follower.client.request_timeout();
    let feed = follower.open(Some(until)).await?;
    follower.feed = Some(feed);
    Ok(Watch::new(stream::unfold(Some(follower), |follower| async {
        let mut follower = follower?;
        let batch = follower.next().await;
        let follower = batch.is_ok().then_some(follower);
        Some((batch, follower))
    })))
}

struct Follower {
    client: Arc<Client>,
    keys: Keys,
    range: KeyRange,
    /// Everything up to here was given out, or not asked for.
    position: i64,
    ready: VecDeque<WatchBatch>,
    feed: Option<Feed>,
    /// What finds out how far the silence of the feed reaches.
    inquiry: Option<BoxFuture<'static, Option<News>>>,
    seen: watch::Receiver<i64>,
    next_inquiry: Instant,
    pauses: Backoff,
    /// Between a break and the next feed, lest feeds that break at once make a storm.
    breaks: Backoff,
}

/// What a follower waited for.
enum Woken {
    Feed(Result<News, Ended>),
    Inquiry(Option<News>),
    Behind,
}

impl Follower {
    async fn next(&mut self) -> Result<WatchBatch, KvError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            if self.feed.is_none() {
                self.feed = Some(self.open(None).await?);
            }
            match self.wait().await {
                Woken::Feed(Ok(news)) => self.take(news),
                Woken::Feed(Err(ended)) => self.ended(ended).await?,
                Woken::Inquiry(news) => {
                    self.inquiry = None;
                    self.next_inquiry = Instant::now() + self.pauses.next_delay();
                    self.take(news.unwrap_or_default());
                }
                Woken::Behind => self.inquire(),
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let feed = self.feed.as_mut().expect("opened by who calls");
        let not_before = self.next_inquiry.max(Instant::now() + GRACE);
        tokio::select! {
            // What has arrived comes first.
            biased;
            news = feed.next() => Woken::Feed(news),
            news = async { self.inquiry.as_mut().expect("checked").await }, if self.inquiry.is_some() => {
                Woken::Inquiry(news)
            }
            () = Client::beyond(&mut self.seen, self.position, not_before), if self.inquiry.is_none() => {
                Woken::Behind
            }
        }
    }

    /// Gives out what is new in the news: feed and inquiry may both bring the same.
    fn take(&mut self, news: News) {
        let before = self.position;
        for (revision, events) in news.revisions {
            if revision <= self.position {
                continue;
            }
            self.position = revision;
            let events: Vec<_> = events.into_iter().filter_map(|event| self.keys.event(event)).collect();
            if !events.is_empty() {
                self.ready.push_back(WatchBatch { revision: Revision(revision), events });
            }
        }
        if let Some(progress) = news.progress.filter(|progress| *progress > self.position) {
            self.position = progress;
            self.ready.push_back(WatchBatch { revision: Revision(progress), events: Vec::new() });
        }
        if self.position > before {
            self.pauses.reset();
            self.breaks.reset();
        }
    }

    async fn ended(&mut self, ended: Ended) -> Result<(), KvError> {
        let feed = self.feed.take().expect("it just ended");
        // It was asked on the stream that is gone.
        self.inquiry = None;
        match ended {
            Ended::Compacted(revision) => Err(self.compacted(revision)),
            Ended::Failed(failure) => {
                feed.close(&failure).await;
                match failure.kind {
                    Kind::Answer(answer) => Err(Failed::Answer(answer, failure).into()),
                    Kind::Login if !self.client.can_log_in() => {
                        Err(Failed::Answer(Answer::Denied, failure).into())
                    }
                    Kind::Login | Kind::Lost | Kind::NotDone => {
                        info!(%failure, position = self.position, "metastore watch broke, resuming");
                        self.breaks.wait().await;
                        Ok(())
                    }
                }
            }
        }
    }

    fn compacted(&self, revision: i64) -> KvError {
        KvError::Compacted { requested: Revision(self.position + 1), oldest: Revision(revision + 1) }
    }

    /// A feed from the position on; tries until the deadline, or for ever.
    async fn open(&mut self, until: Option<Instant>) -> Result<Feed, KvError> {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut failures = Failures::default();
        let mut logins = 0;
        loop {
            let failure = match Feed::open(&self.client, &self.range, self.position.max(1)).await {
                Ok(feed) => return Ok(feed),
                Err(Ended::Compacted(revision)) => return Err(self.compacted(revision)),
                Err(Ended::Failed(failure)) => failure,
            };
            match failure.kind {
                Kind::Answer(answer) => return Err(Failed::Answer(answer, failure).into()),
                Kind::Login if logins == LOGINS || !self.client.can_log_in() => {
                    return Err(Failed::Answer(Answer::Denied, failure).into());
                }
                Kind::Login => logins += 1,
                Kind::Lost | Kind::NotDone => {}
            }
            let pause = backoff.next_delay();
            if until.is_some_and(|until| Instant::now() + pause >= until) {
                failures.add(failure);
                return Err(Failed::Unavailable(failures).into());
            }
            if until.is_none() {
                warn!(%failure, position = self.position, "metastore watch cannot go on yet");
            }
            failures.add(failure);
            sleep(pause).await;
        }
    }

    /// Begins to find out what happened between the position and the store's revision.
    fn inquire(&mut self) {
        if let Some(feed) = &self.feed {
            let inquiry = Inquiry {
                client: self.client.clone(),
                range: self.range.clone(),
                root: self.keys.range(""),
                position: self.position,
                target: *self.seen.borrow(),
            };
            self.inquiry = Some(inquiry.make(feed).boxed());
        }
    }
}
