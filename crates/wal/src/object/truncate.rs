//! How are records forgotten so that nobody mistakes it for damage, or an old slot for a new one?

use std::sync::Arc;

use redkite_types::Lsn;

use super::format::{Slot, Start};
use super::handle::Inner;
use crate::WalError;

impl Inner {
    /// Forgets the objects whose records are all at or before `through`. The new beginning is recorded
    /// first; then what lies before it is garbage, whenever it is deleted.
    pub(super) async fn truncate(self: &Arc<Self>, through: Lsn) -> Result<(), WalError> {
        let _turn = self.truncating.lock().await;
        let (number, start) = match self.find_cut(through).await {
            Ok(Some(cut)) => cut,
            // A former leader has truncated further.
            Ok(None) | Err(WalError::Truncated { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        self.bucket.record_start(start).await?;
        let (before, gone) = {
            let mut state = self.state.lock();
            let before = state.objects.first();
            (before, state.objects.forget(number, start.first))
        };
        let slots = gone.into_iter().map(|slot: Slot| slot.name(self.shard()));
        self.start_sweeping(slots.chain([Start::name(self.shard(), before)]).collect());
        Ok(())
    }

    /// Which object is to be the first, and where it is; `None` if none can be forgotten.
    async fn find_cut(&self, through: Lsn) -> Result<Option<(u64, Start)>, WalError> {
        let (first, durable, (begin, end), free) = {
            let state = self.state.lock();
            if let Some(refusal) = &state.refusal {
                return Err(refusal.clone());
            }
            (state.objects.first(), state.durable, state.objects.range(), self.slot(state.settled))
        };
        if through < first || begin == end {
            return Ok(None);
        }
        if through >= durable {
            return Ok(Some((end, Start { first: durable.next(), slot: free })));
        }
        let number = self.locate(through.next(), end).await?;
        if number == begin {
            return Ok(None);
        }
        let span = self.span(number, through).await?;
        let place = self.state.lock().objects.get(number);
        Ok(place.map(|kept| (number, Start { first: span.first, slot: kept.slot })))
    }

    /// Deletes what nobody needs, this too. Nobody waits for it; what cannot be deleted now is tried again the next
    /// time.
    pub(super) fn start_sweeping(self: &Arc<Self>, more: Vec<String>) {
        let log = self.clone();
        self.tasks.spawn("log-sweep", |_| async move {
            let mut garbage = log.garbage.lock().await;
            garbage.extend(more);
            let (left, error) = log.bucket.delete(std::mem::take(&mut *garbage)).await;
            if let Some(error) = error {
                let objects = left.len();
                tracing::warn!(shard = %log.shard(), objects, %error, "objects of a log not deleted yet");
            }
            *garbage = left;
        });
    }
}
