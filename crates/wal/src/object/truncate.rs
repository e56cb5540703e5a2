//! How are records forgotten so that nobody mistakes it for damage, or an old slot for a new one?

use redkite_types::Lsn;

use super::format::{Slot, Start};
use super::handle::Inner;
use crate::WalError;

impl Inner {
    /// Forgets the objects whose records are all at or before `through`. The new beginning is recorded
    /// first; then what lies before it is garbage, whenever it is deleted.
    pub(super) async fn truncate(&self, through: Lsn) -> Result<(), WalError> {
        let mut garbage = self.garbage.lock().await;
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
        garbage.push(Start::name(self.shard(), before));
        garbage.extend(gone.into_iter().map(|slot: Slot| slot.name(self.shard())));
        self.sweep(&mut garbage).await;
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
        Ok(place.map(|(slot, _)| (number, Start { first: span.first, slot })))
    }

    /// Deletes what nobody needs. What cannot be deleted now is tried again after the next truncation.
    pub(super) async fn sweep(&self, garbage: &mut Vec<String>) {
        let (left, error) = self.bucket.delete(std::mem::take(garbage)).await;
        if let Some(error) = error {
            tracing::warn!(shard = %self.shard(), objects = left.len(), %error, "objects of a log not deleted yet");
        }
        *garbage = left;
    }
}
