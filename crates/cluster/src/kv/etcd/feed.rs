//! What does one stream of changes from etcd say?
//!
//! etcd sends all events of a revision in one response, many revisions in one if it is catching up, and
//! splits responses that get too large at any event. A feed puts the parts together and gives out
//! whole revisions. It ends with the first trouble; `watch` then opens another.

use std::sync::Arc;

use redkite_proto::etcd::watch_client::WatchClient;
use redkite_proto::etcd::watch_request::RequestUnion;
use redkite_proto::etcd::{self as pb, WatchRequest};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::client::{Client, LARGEST_ANSWER, add_metadata};
use super::connect::{Connection, Member, Use};
use super::convert::KeyRange;
use super::failure::{Failure, Kind};
use super::login::Token;

/// etcd's watch id in answers that concern the whole stream.
const WHOLE_STREAM: i64 = -1;

/// One stream of changes of a range of keys.
pub(super) struct Feed {
    line: Line,
    /// For requests on the stream, which lasts as long as this does.
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
    id: i64,
    /// Events of the last revision received, of which parts are missing.
    held: Vec<pb::Event>,
}

/// How a member is spoken to.
#[derive(Clone)]
pub(super) struct Line {
    client: Arc<Client>,
    pub(super) member: Arc<Member>,
    pub(super) connection: Connection,
    token: Option<Token>,
}

/// What arrived.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Whole revisions, in order.
    pub(super) revisions: Vec<(i64, Vec<pb::Event>)>,
    /// Nothing is missing up to here, says etcd.
    pub(super) progress: Option<i64>,
}

/// Why a feed ended.
#[derive(Debug)]
pub(super) enum Ended {
    Failed(Failure),
    /// History before this revision is gone.
    Compacted(i64),
}

impl Line {
    pub(super) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    async fn open(client: &Arc<Client>, member: &Arc<Member>) -> Result<Self, Failure> {
        let connection = member.connection(Use::Watches).await;
        let connection = connection.map_err(|detail| Failure::not_connected(&member.name, detail))?;
        Ok(Self { client: client.clone(), member: member.clone(), connection, token: None })
    }

    /// Draws the conclusion from a failure, so that the next feed does not meet the same.
    async fn close(&self, failure: &Failure) {
        match failure.kind {
            Kind::Login => self.client.forget(self.token.as_ref()).await,
            // Also when only the stream broke: another connection costs little, a dead one much time.
            Kind::Lost | Kind::NotDone => self.member.drop_connection(Use::Watches, &self.connection).await,
            Kind::Answer(_) => {}
        }
    }
}

impl Feed {
    /// Begins with the changes of revision `start`. A member that fails is avoided from now on.
    pub(super) async fn open(client: &Arc<Client>, range: &KeyRange, start: i64) -> Result<Self, Ended> {
        let (member, current) = client.member();
        let began = Instant::now();
        let until = began + client.try_timeout();
        let late = |sent| Failure::timeout(&member.name, began.elapsed(), sent);
        let line = timeout_at(until, Line::open(client, &member)).await;
        let opened = match line.unwrap_or_else(|_| Err(late(false))) {
            Err(failure) => Err(Ended::Failed(failure)),
            Ok(mut line) => {
                let begun = timeout_at(until, Self::begin(&mut line, range, start)).await;
                let begun = begun.unwrap_or_else(|_| Err(Ended::Failed(late(true))));
                if let Err(Ended::Failed(failure)) = &begun {
                    line.close(failure).await;
                }
                begun
            }
        };
        if let Err(Ended::Failed(Failure { kind: Kind::NotDone | Kind::Lost, .. })) = &opened {
            client.avoid(current);
        }
        opened
    }

    async fn begin(line: &mut Line, range: &KeyRange, start: i64) -> Result<Self, Ended> {
        let (requests, queue) = mpsc::channel(4);
        let create = pb::WatchCreateRequest {
            key: range.key.clone(),
            range_end: range.end.clone(),
            start_revision: start,
            progress_notify: true,
            fragment: true,
        };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        requests.try_send(create).expect("the queue is new and its other end is here");
        line.token =
            line.client.token(&line.member, &line.connection.channel).await.map_err(Ended::Failed)?;
        let mut request = Request::new(ReceiverStream::new(queue));
        add_metadata(&mut request, line.token.as_ref());
        let mut watches =
            WatchClient::new(line.connection.channel.clone()).max_decoding_message_size(LARGEST_ANSWER);
        let responses = watches.watch(request).await;
        let responses = responses
            .map_err(|status| Ended::Failed(Failure::of_status(&line.member.name, &status)))?
            .into_inner();
        let mut feed = Self { line: line.clone(), requests, responses, id: 0, held: Vec::new() };
        feed.id = feed.receive().await?.watch_id;
        Ok(feed)
    }

    /// What arrives next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<News, Ended> {
        let response = self.receive().await?;
        if response.events.is_empty() {
            let ours = response.watch_id == self.id || response.watch_id == WHOLE_STREAM;
            let exact = ours && !response.created && self.held.is_empty();
            let progress = response.header.filter(|_| exact).map(|header| header.revision);
            return Ok(News { revisions: Vec::new(), progress });
        }
        let revisions = assemble(&mut self.held, response.events, response.fragment);
        Ok(News { revisions, progress: None })
    }

    async fn receive(&mut self) -> Result<pb::WatchResponse, Ended> {
        let member = &self.line.member.name;
        let response = match self.responses.message().await {
            Ok(Some(response)) => response,
            Ok(None) => return Err(Ended::Failed(Failure::of_reason(member, "stream ended"))),
            Err(status) => return Err(Ended::Failed(Failure::of_status(member, &status))),
        };
        if response.compact_revision != 0 {
            return Err(Ended::Compacted(response.compact_revision));
        }
        if response.canceled {
            return Err(Ended::Failed(Failure::of_reason(member, &response.cancel_reason)));
        }
        Ok(response)
    }

    /// How to ask the member for progress: its answer is news of this feed.
    pub(super) fn inquiry(&self) -> (Line, mpsc::Sender<WatchRequest>) {
        (self.line.clone(), self.requests.clone())
    }

    /// After it ended.
    pub(super) async fn close(self, failure: &Failure) {
        self.line.close(failure).await;
    }
}

/// Adds `events` to those `held` and takes out the revisions that are complete.
fn assemble(held: &mut Vec<pb::Event>, events: Vec<pb::Event>, more: bool) -> Vec<(i64, Vec<pb::Event>)> {
    let mut revisions: Vec<(i64, Vec<pb::Event>)> = Vec::new();
    for event in std::mem::take(held).into_iter().chain(events) {
        let revision = event.kv.as_ref().map_or(0, |entry| entry.mod_revision);
        match revisions.last_mut() {
            Some((last, events)) if *last == revision => events.push(event),
            _ => revisions.push((revision, vec![event])),
        }
    }
    if more {
        // Its other events may be in the next part.
        *held = revisions.pop().map(|(_, events)| events).unwrap_or_default();
    }
    revisions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(revision: i64, key: &'static str) -> pb::Event {
        let entry = pb::KeyValue { key: key.into(), mod_revision: revision, ..pb::KeyValue::default() };
        pb::Event { r#type: 0, kv: Some(entry) }
    }

    #[test]
    fn a_revision_is_given_out_when_its_last_part_is_here() {
        let mut held = Vec::new();
        let parts = [
            (vec![event(3, "a"), event(3, "b"), event(5, "a")], true),
            (vec![event(5, "b")], true),
            (vec![event(5, "c"), event(6, "a")], true),
            (vec![event(7, "a")], false),
            (vec![event(9, "a")], false),
        ];
        let given: Vec<Vec<(i64, usize)>> = parts
            .into_iter()
            .map(|(events, more)| {
                let revisions = assemble(&mut held, events, more);
                revisions.into_iter().map(|(revision, events)| (revision, events.len())).collect()
            })
            .collect();
        let wanted: [Vec<_>; 5] = [vec![(3, 2)], vec![], vec![(5, 3)], vec![(6, 1), (7, 1)], vec![(9, 1)]];
        assert_eq!(given, wanted);
    }
}
