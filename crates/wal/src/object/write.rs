//! How do many appends become few objects, several of them on their way at a time, acknowledged in order?

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use redkite_runtime::blocking;
use redkite_types::Lsn;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::bucket::Filled;
use super::format::{Content, HEADER_BYTES, Payload, Slot, Span, records};
use super::handle::{Done, Inner};
use crate::WalError;

/// A put that takes longer is worth a warning, and again each time.
const SLOW: Duration = Duration::from_secs(5);
/// Objects larger than this are put together off the threads that drive I/O.
const LARGE: usize = 1 << 20;

/// Writes what is appended until the log is closed or lost.
pub(super) async fn run(log: Arc<Inner>) {
    let log = Ending(log);
    let mut writer =
        Writer { log: &log.0, sequence: 0, waiting: VecDeque::new(), puts: FuturesOrdered::new() };
    let mut complaint = Instant::now();
    loop {
        let in_flight = writer.waiting.len();
        complaint = complaint.max(writer.waiting.front().map_or(complaint, |oldest| oldest.began + SLOW));
        tokio::select! {
            biased;
            Some(outcome) = writer.puts.next(), if in_flight > 0 => {
                if let Err(error) = writer.settle(outcome) {
                    return writer.fail(error);
                }
            }
            batch = next_batch(&log.0, in_flight) => match batch {
                Some(batch) => writer.begin(batch),
                None => return,
            },
            () = sleep_until(complaint), if in_flight > 0 => {
                writer.complain();
                complaint = Instant::now() + SLOW;
            }
        }
    }
}

/// Some appends, and where their records go.
struct Batch {
    span: Span,
    payloads: Vec<Payload>,
    bytes: usize,
    done: Vec<Done>,
    settled: u64,
}

struct Writer<'a> {
    log: &'a Arc<Inner>,
    /// The next slot.
    sequence: u64,
    /// Who waits for the puts, in the same order.
    waiting: VecDeque<InFlight>,
    puts: FuturesOrdered<BoxFuture<'static, Result<Filled, WalError>>>,
}

struct InFlight {
    slot: Slot,
    span: Span,
    size: u64,
    done: Vec<Done>,
    began: Instant,
}

/// Takes a batch when it is time to; `None` when nothing more will come and nothing is in flight.
async fn next_batch(log: &Inner, in_flight: usize) -> Option<Batch> {
    let settings = &log.settings;
    loop {
        let due = {
            let mut state = log.state.lock();
            let closing = state.refusal.is_some();
            match state.waiting.front() {
                None if closing && in_flight == 0 => return None,
                None => None,
                Some(_) if in_flight >= settings.puts_in_flight.max(1) => None,
                Some(oldest) => {
                    let due = oldest.since + settings.max_delay;
                    let full = state.waiting_bytes >= settings.batch_bytes;
                    if closing || full || in_flight == 0 || due <= Instant::now() {
                        return Some(state.take_batch(settings.batch_bytes));
                    }
                    Some(due)
                }
            }
        };
        match due {
            None => log.work.notified().await,
            // Either way there may be something to do.
            Some(due) => drop(timeout_at(due, log.work.notified()).await),
        }
    }
}

impl super::handle::State {
    /// Takes what waits, up to some size, at least one append.
    fn take_batch(&mut self, most: usize) -> Batch {
        let first = self.waiting.front().map_or(self.next, |oldest| oldest.first);
        let mut batch = Batch {
            span: Span { first, last: first },
            payloads: Vec::new(),
            bytes: 0,
            done: Vec::new(),
            settled: self.settled,
        };
        while let Some(one) = self.waiting.front() {
            if !batch.done.is_empty() && batch.bytes + one.bytes > most {
                break;
            }
            let Some(one) = self.waiting.pop_front() else { break };
            batch.bytes += one.bytes;
            batch.payloads.extend(one.payloads);
            batch.done.push(one.done);
        }
        self.waiting_bytes -= batch.bytes;
        batch.span.last = Lsn(first.0 + batch.payloads.len() as u64 - 1);
        batch
    }
}

impl Writer<'_> {
    fn begin(&mut self, batch: Batch) {
        let Batch { span, payloads, bytes, done, settled } = batch;
        let slot = self.log.slot(self.sequence);
        self.sequence += 1;
        metrics::counter!("redkite_wal_written_bytes_total").increment(bytes as u64);
        metrics::counter!("redkite_wal_records_total").increment(payloads.len() as u64);
        self.waiting.push_back(InFlight {
            slot,
            span,
            size: (HEADER_BYTES + bytes) as u64,
            done,
            began: Instant::now(),
        });
        let log = self.log.clone();
        self.puts.push_back(Box::pin(async move {
            let shard = log.shard();
            let build = move || records(shard, slot, settled, span, payloads.iter());
            let object: Bytes = if bytes > LARGE { blocking(build).await } else { build() };
            log.bucket.fill(slot, &object).await
        }));
    }

    /// The oldest put has ended: only now may those behind it be acknowledged.
    fn settle(&mut self, outcome: Result<Filled, WalError>) -> Result<(), WalError> {
        match outcome? {
            Filled::Ours => {}
            Filled::Other(found) => {
                let (shard, epoch) = (self.log.shard(), self.log.term.epoch);
                return Err(match found.content {
                    Content::Fence { successor } => {
                        WalError::Fenced { shard, epoch, current: successor.epoch }
                    }
                    Content::Records { .. } => found.corrupt("another writer's records in a slot of ours"),
                });
            }
        }
        let Some(put) = self.waiting.pop_front() else { return Ok(()) };
        metrics::histogram!("redkite_wal_put_seconds").record(put.began.elapsed());
        {
            let mut state = self.log.state.lock();
            state.durable = put.span.last;
            state.settled = put.slot.sequence + 1;
            state.objects.push(put.slot, put.size, put.span);
        }
        // The last step: who was answered may drop the log and open it anew.
        put.done.into_iter().for_each(|done| done.end(Ok(())));
        Ok(())
    }

    /// Everybody waits for the oldest put; whoever looks at the logs shall know for what.
    fn complain(&self) {
        let Some(oldest) = self.waiting.front() else { return };
        let (shard, waiting) = (self.log.shard(), oldest.began.elapsed());
        let object = oldest.slot.name(shard);
        tracing::warn!(%shard, object, ?waiting, "appends wait for the object store");
    }

    /// Fails everything that is not durable: positions are dense, so none of it can be.
    fn fail(self, cause: WalError) {
        let shard = self.log.shard();
        let lost = matches!(cause, WalError::Fenced { .. } | WalError::Closed { .. });
        if lost {
            tracing::info!(%shard, %cause, "shard log is lost to its next leader");
        } else {
            tracing::error!(%shard, %cause, "append to shard log failed");
        }
        let refusal =
            if lost { cause.clone() } else { WalError::Poisoned { shard, cause: cause.to_string() } };
        let mut state = self.log.state.lock();
        state.refusal = Some(refusal);
        state.abandoned.get_or_insert_with(|| cause.clone());
        for done in self.waiting.into_iter().flat_map(|put| put.done) {
            done.end(Err(cause.clone()));
        }
        state.fail_waiting(&cause);
    }
}

/// However the writer ends, nobody waits for it in vain.
struct Ending(Arc<Inner>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abandon(WalError::Closed { shard: self.0.shard() });
        self.0.ended.send_replace(true);
    }
}
