//! How far has a watch come that hears nothing?
//!
//! Releases of etcd that answer requests for progress in step with the events are asked. The others
//! answer too early (etcd's issue 15220); there, a second feed shows exactly what happened since: one
//! over all keys, which no revision leaves silent, begun at a revision that is known.

use std::sync::Arc;
use std::time::Duration;

use futures::Future;
use redkite_proto::etcd as pb;
use redkite_proto::etcd::maintenance_client::MaintenanceClient;
use redkite_proto::etcd::watch_request::RequestUnion;
use tokio::time::timeout;
use tonic::Request;

use super::client::{Client, add_metadata};
use super::convert::KeyRange;
use super::failure::{Answer, Failure, Kind};
use super::feed::{Ended, Feed, Line, News};

/// It is answered soon or never: a feed over our own keys alone is silent when others changed the store.
const PATIENCE: Duration = Duration::from_secs(2);

/// A question that one watch has.
pub(super) struct Inquiry {
    pub(super) client: Arc<Client>,
    /// What the watch follows.
    pub(super) range: KeyRange,
    /// All that is ours.
    pub(super) root: KeyRange,
    /// How far it is known.
    pub(super) position: i64,
    /// How far the store has come.
    pub(super) target: i64,
}

impl Inquiry {
    /// Asks on the watch's own feed, where the answer will then arrive, or returns the answer.
    pub(super) fn make(self, feed: &Feed) -> impl Future<Output = Option<News>> + Send + 'static {
        let (line, requests) = feed.inquiry();
        let asking = async move {
            if !answers_in_step(&line).await {
                return self.look().await;
            }
            let request = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
            // If there is no room, a request is on its way; if nobody takes it, the feed ends.
            let _ = requests.try_send(pb::WatchRequest { request_union: Some(request) });
            None
        };
        async { timeout(PATIENCE, asking).await.ok().flatten() }
    }

    async fn look(&self) -> Option<News> {
        let wide = if self.client.sees_everything() { KeyRange::everything() } else { self.root.clone() };
        let mut feed = match Feed::open(&self.client, &wide, self.position.max(1)).await {
            Ok(feed) => feed,
            Err(ended) => {
                if matches!(ended, Ended::Failed(Failure { kind: Kind::Answer(Answer::Denied), .. })) {
                    self.client.sees_only_its_own();
                }
                return None;
            }
        };
        let (mut revisions, mut reached) = (Vec::new(), self.position);
        while reached < self.target {
            let news = feed.next().await.ok()?;
            for (revision, mut events) in news.revisions {
                reached = reached.max(revision);
                events.retain(|event| event.kv.as_ref().is_some_and(|entry| self.range.contains(&entry.key)));
                if !events.is_empty() {
                    revisions.push((revision, events));
                }
            }
            reached = reached.max(news.progress.unwrap_or(0));
        }
        Some(News { revisions, progress: Some(reached) })
    }
}

/// Whether the member puts answers to requests for progress behind the events before them.
async fn answers_in_step(line: &Line) -> bool {
    let ask = || async {
        let mut request = Request::new(pb::StatusRequest {});
        add_metadata(&mut request, line.token());
        let status = MaintenanceClient::new(line.connection.channel.clone()).status(request).await?;
        Ok::<_, tonic::Status>(is_in_step(&status.into_inner().version))
    };
    line.connection.in_step.get_or_try_init(ask).await.copied().unwrap_or(false)
}

/// By etcd's change logs: pull requests 15697 and 17567 for 3.4, 15695 and 17566 for 3.5.
fn is_in_step(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>());
    let mut next = || numbers.next().and_then(Result::ok);
    match (next(), next(), next()) {
        (Some(3), Some(4), Some(patch)) => patch >= 31,
        (Some(3), Some(5), Some(patch)) => patch >= 13,
        (Some(major), Some(minor), _) => (major, minor) >= (3, 6),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_repaired_releases_are_believed() {
        for version in ["3.4.31", "3.4.40", "3.5.13", "3.5.21", "3.6.0", "3.7.0-rc.0", "4.0.0"] {
            assert!(is_in_step(version), "{version}");
        }
        for version in ["3.4.23", "3.4.30", "3.5.0", "3.5.12", "3.3.99", "", "newest", "3"] {
            assert!(!is_in_step(version), "{version}");
        }
    }
}
