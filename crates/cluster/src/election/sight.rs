//! What does a candidate see when it looks: who is active, why the last reign ended, who was active before?

use redkite_types::Revision;

use super::record::{ElectionRecord, Note, Release, VERSION_KEY, history, release, release_of};
use crate::kv::{Compare, KeyValue, Kv, KvError, Txn};
use crate::session::SessionInfo;

/// Everything an election depends on, at one revision.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) revision: Revision,
    pub(super) active: Option<KeyValue>,
    note: Option<(Revision, Note)>,
    version: Option<KeyValue>,
    /// In the order of epochs.
    history: Vec<(Revision, ElectionRecord)>,
}

impl Sight {
    pub(super) async fn take(kv: &dyn Kv, role: &str, active_key: &str) -> Result<Self, KvError> {
        let txn = Txn::new()
            // Never both: the reads of a transaction are of one revision.
            .when(Compare::exists(active_key))
            .when(Compare::absent(active_key))
            .otherwise_get(active_key)
            .otherwise_get(Note::key(role))
            .otherwise_get(VERSION_KEY)
            .otherwise_range(history(role));
        let outcome = kv.txn(txn).await?;
        let mut reads = outcome.reads.into_iter();
        let mut one = || reads.next().unwrap_or_default().into_iter().next();
        let (active, note, version) = (one(), one(), one());
        let history = reads.next().unwrap_or_default();
        Ok(Self {
            revision: outcome.revision,
            active,
            note: note.and_then(|entry| Some((entry.mod_revision, Note::read(&entry)?))),
            version,
            history: history.iter().filter_map(record).collect(),
        })
    }

    /// The last election.
    pub(super) fn last(&self) -> Option<&ElectionRecord> {
        self.history.last().map(|(_, record)| record)
    }

    /// The election that began a reign; none if it was won by a version without records.
    pub(super) fn election(&self, reign: Revision) -> Option<&ElectionRecord> {
        self.history.iter().rev().find(|(revision, _)| *revision == reign).map(|(_, record)| record)
    }

    /// What was left by whoever ended the last reign.
    pub(super) fn note(&self) -> Option<(Revision, &Note)> {
        let (reign, _) = self.history.last()?;
        self.note.as_ref().filter(|(_, note)| note.is_about(*reign)).map(|(left, note)| (*left, note))
    }

    /// That the recorded version is still the one seen.
    pub(super) fn version_unchanged(&self) -> Compare {
        Compare::unchanged(VERSION_KEY, self.version.as_ref())
    }

    /// The newest release known to have been active.
    pub(super) fn newest_release(&self) -> Option<Release> {
        let recorded =
            self.version.as_ref().and_then(|entry| release(std::str::from_utf8(&entry.value).ok()?));
        let active = self.active.as_ref();
        let active = active.and_then(|entry| SessionInfo::from_value(&entry.key, &entry.value).ok());
        recorded.max(active.as_ref().and_then(release_of))
    }
}

/// A record and when it was written. The epoch is the key's: a record that does not parse counts, too.
fn record(entry: &KeyValue) -> Option<(Revision, ElectionRecord)> {
    let epoch = entry.key.rsplit_once('/')?.1.parse().ok()?;
    let record = ElectionRecord::from_value(&entry.key, &entry.value).unwrap_or_default();
    Some((entry.mod_revision, ElectionRecord { epoch, ..record }))
}
