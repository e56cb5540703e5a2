//! What there is to know at one moment: the store's keys and leases, what each candidate believes, and
//! requests on their way.

use std::hash::{Hash, Hasher};

/// Candidates there is room for.
pub(crate) const SLOTS: usize = 3;
/// Epochs there is room for.
pub(crate) const EPOCHS: usize = 4;

/// A lease as the store knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lease {
    Alive,
    /// Alive, but another, who took its owner for dead, has deleted the active key.
    Buried,
    /// Ended by time, or there was none yet.
    Expired,
    /// Ended by another, who took its owner for dead.
    Revoked,
}

impl Lease {
    /// Whether what stands under it stands.
    pub(crate) fn lives(self) -> bool {
        matches!(self, Self::Alive | Self::Buried)
    }
}

/// What a candidate is at, by its own belief.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// Not in this model.
    Absent,
    Dead,
    /// Stands by.
    Idle,
    /// Leaves the first move to the one whom the hint names.
    Deferring,
    Campaigning,
    Leading,
    /// Does not serve any more; whether the store knows is not known yet.
    Resigning,
}

/// A request to the store, or an answer from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    /// Creates the active key with the record of this epoch, if neither exists.
    Campaign { epoch: u8 },
    /// The answer to it: the revision that created the key, and the reign that began with it.
    Won { create: u8, reign: u8 },
    /// Puts the record of an epoch. Only where it is not part of the campaign.
    Record { epoch: u8, reign: u8 },
    /// Changes something, if the key was created at this revision.
    Write { create: u8, reign: u8 },
    /// Deletes the key, if it was created at this revision, and leaves a hint.
    Resign { create: u8, to: Option<u8> },
}

/// One process. It is paused whenever it takes no step; the clock goes on meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// For who reads a trace. Takes no part in anything.
    pub(crate) name: char,
    pub(crate) phase: Phase,
    /// The epoch it leads in, or led in when it died.
    pub(crate) epoch: u8,
    /// The revision that made it active.
    pub(crate) create: u8,
    /// Which of all reigns, counted as they began, is its own. Nobody in the protocol knows this number.
    pub(crate) reign: u8,
    /// By its own clock its lease cannot have ended by time yet.
    pub(crate) fresh: bool,
    /// A call has passed the check of the clock and is not answered yet.
    pub(crate) reading: bool,
    pub(crate) lease: Lease,
    /// What it waits for.
    pub(crate) awaited: Option<Message>,
    /// A request that it has given up and that may arrive yet.
    pub(crate) stray: Option<Message>,
}

impl Candidate {
    fn new(name: char, phase: Phase) -> Self {
        Self {
            name,
            phase,
            epoch: 0,
            create: 0,
            reign: 0,
            fresh: false,
            reading: false,
            lease: Lease::Expired,
            awaited: None,
            stray: None,
        }
    }

    /// Whether a call into it would be answered.
    pub(crate) fn serves(&self) -> bool {
        self.fresh && matches!(self.phase, Phase::Leading | Phase::Resigning)
    }

    /// Whether its process exists.
    pub(crate) fn runs(&self) -> bool {
        !matches!(self.phase, Phase::Absent | Phase::Dead)
    }

    /// Stands by again.
    pub(crate) fn rest(&mut self) {
        let Self { name, reading, lease, stray, .. } = *self;
        *self = Self { reading, lease, stray, ..Self::new(name, Phase::Idle) };
    }

    fn messages(&mut self) -> impl Iterator<Item = &mut Message> {
        [&mut self.awaited, &mut self.stray].into_iter().flatten()
    }

    /// All of it but the name.
    fn code(&self) -> u64 {
        let mut code = Code(0);
        code.add(self.phase as u8, 3);
        code.add(self.epoch, 3);
        code.add(self.create, 3);
        code.add(self.reign, 3);
        code.add(u8::from(self.fresh), 1);
        code.add(u8::from(self.reading), 1);
        code.add(self.lease as u8, 2);
        code.message(self.awaited);
        code.message(self.stray);
        code.0
    }
}

/// The active key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key {
    /// Whose key it is. It goes with the lease of its owner.
    pub(crate) owner: u8,
    /// The revision that created it.
    pub(crate) create: u8,
    /// The reign that began with it.
    pub(crate) reign: u8,
    pub(crate) epoch: u8,
}

/// What went wrong for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// A write of an older reign landed after a newer one had begun.
    OldWrite,
    /// The record of an epoch was written twice.
    SecondWriter,
}

/// The store and the candidates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) key: Option<Key>,
    /// Counts creations of the active key; other changes are compared with nothing.
    pub(crate) revision: u8,
    /// How many reigns have begun.
    pub(crate) reigns: u8,
    /// The record of each epoch names the reign that wrote it.
    pub(crate) records: [u8; EPOCHS],
    /// How many there are.
    pub(crate) epoch: u8,
    /// Who should be the next active one.
    pub(crate) hint: Option<u8>,
    pub(crate) candidates: [Candidate; SLOTS],
    pub(crate) broken: Option<Broken>,
    /// All of the above but names, as [`Self::in_order`] leaves it.
    codes: [u64; SLOTS + 1],
}

impl State {
    /// Nothing has happened yet.
    pub(crate) fn new(candidates: usize) -> Self {
        let candidate =
            |(slot, name)| Candidate::new(name, if slot < candidates { Phase::Idle } else { Phase::Absent });
        let mut names = ['A', 'B', 'C'].into_iter().enumerate().map(candidate);
        Self {
            key: None,
            revision: 0,
            reigns: 0,
            records: [0; EPOCHS],
            epoch: 0,
            hint: None,
            candidates: std::array::from_fn(|_| names.next().expect("one for each slot")),
            broken: None,
            codes: [0; SLOTS + 1],
        }
    }

    /// Whether the active key is this candidate's.
    pub(crate) fn owns(&self, slot: usize) -> bool {
        self.key.is_some_and(|key| usize::from(key.owner) == slot)
    }

    /// Whether the active key was created at this revision: the fence.
    pub(crate) fn created_at(&self, create: u8) -> bool {
        self.key.is_some_and(|key| key.create == create)
    }

    /// Whether the hint asks this candidate to wait.
    pub(crate) fn defers(&self, slot: usize) -> bool {
        self.hint.is_some_and(|to| usize::from(to) != slot)
    }

    /// The n-th record is of the n-th reign, and there is no reign without one.
    pub(crate) fn is_dense(&self) -> bool {
        let expected = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 2, 0, 0], [1, 2, 3, 0], [1, 2, 3, 4]];
        self.epoch == self.reigns && self.records == expected[usize::from(self.epoch)]
    }

    /// Whether an epoch has begun. After renumbering 0 stands for those that did long ago.
    pub(crate) fn has_record(&self, epoch: u8) -> bool {
        epoch == 0 || self.records[usize::from(epoch) - 1] != 0
    }

    /// Writes the record of an epoch.
    pub(crate) fn record(&mut self, epoch: u8, reign: u8) {
        if self.has_record(epoch) {
            self.broken = Some(Broken::SecondWriter);
        }
        self.records[usize::from(epoch) - 1] = reign;
        self.epoch = self.epoch.max(epoch);
    }

    /// Forgets what makes no difference any more.
    pub(crate) fn settle(&mut self, compares_records: bool) {
        let (created, last) = (self.key.map(|key| key.create), self.epoch);
        for candidate in &mut self.candidates {
            // What another did to a lease matters only to who may come to serve under it.
            let settled = !candidate.fresh && candidate.phase != Phase::Campaigning;
            candidate.lease = match candidate.lease {
                Lease::Revoked if settled => Lease::Expired,
                Lease::Buried if settled => Lease::Alive,
                lease => lease,
            };
            let refused = match candidate.stray {
                Some(Message::Campaign { epoch }) => {
                    compares_records && epoch <= last || !candidate.lease.lives()
                }
                Some(Message::Resign { create, .. }) => created != Some(create),
                _ => false,
            };
            if refused {
                candidate.stray = None;
            }
        }
    }

    /// The same with small numbers: those of the last epoch are told apart from those of all older ones, which
    /// are told apart by nothing. Needs all rules, by which revisions, reigns and epochs are the same.
    pub(crate) fn renumbered(mut self) -> Self {
        debug_assert!(self.is_dense() && self.revision == self.epoch);
        let last = self.epoch;
        let to = last.min(2);
        let number = |n: &mut u8| *n = if *n == last { to } else { 0 };
        for candidate in &mut self.candidates {
            match candidate.phase {
                // That it led in an older epoch is to be remembered.
                Phase::Dead => {
                    candidate.epoch = if candidate.epoch == last { to } else { candidate.epoch.min(1) }
                }
                _ => number(&mut candidate.epoch),
            }
            number(&mut candidate.create);
            number(&mut candidate.reign);
            for message in candidate.messages() {
                match message {
                    Message::Campaign { epoch } => *epoch = if *epoch == last + 1 { to + 1 } else { 0 },
                    Message::Won { create, reign } | Message::Write { create, reign } => {
                        number(create);
                        number(reign);
                    }
                    Message::Resign { create, .. } => number(create),
                    Message::Record { .. } => unreachable!("no message of its own"),
                }
            }
        }
        if let Some(key) = &mut self.key {
            (key.create, key.reign, key.epoch) = (to, to, to);
        }
        (self.revision, self.reigns, self.epoch) = (to, to, to);
        self.records = std::array::from_fn(|place| if place < usize::from(to) { place as u8 + 1 } else { 0 });
        self
    }

    /// The same with candidates in a fixed order: which of them does what makes no difference.
    pub(crate) fn in_order(mut self) -> Self {
        let mut ranks = [(0, 0); SLOTS];
        for (slot, candidate) in self.candidates.iter().enumerate() {
            let marks = u64::from(self.owns(slot)) << 1 | u64::from(self.hint == Some(slot as u8));
            ranks[slot] = (candidate.code() << 2 | marks, slot);
        }
        ranks.sort_unstable();
        let mut place = [0; SLOTS];
        for (new, (_, old)) in ranks.iter().enumerate() {
            place[*old] = new as u8;
        }
        if place != [0, 1, 2] {
            self.candidates = ranks.map(|(_, old)| self.candidates[old]);
            self.hint = self.hint.map(|to| place[usize::from(to)]);
            self.key = self.key.map(|key| Key { owner: place[usize::from(key.owner)], ..key });
            for message in self.candidates.iter_mut().flat_map(Candidate::messages) {
                if let Message::Resign { to: Some(to), .. } = message {
                    *to = place[usize::from(*to)];
                }
            }
        }
        self.codes = self.codes();
        self
    }

    fn codes(&self) -> [u64; SLOTS + 1] {
        let mut store = Code(0);
        match self.key {
            None => store.add(0, 12),
            Some(Key { owner, create, reign, epoch }) => {
                store.index(Some(owner));
                store.add(create, 3);
                store.add(reign, 3);
                store.add(epoch, 3);
                store.add(1, 1);
            }
        }
        store.add(self.revision, 3);
        store.add(self.reigns, 3);
        self.records.iter().for_each(|reign| store.add(*reign, 3));
        store.add(self.epoch, 3);
        store.index(self.hint);
        store.add(self.broken.map_or(0, |broken| broken as u8 + 1), 2);
        let [a, b, c] = &self.candidates;
        [store.0, a.code(), b.code(), c.code()]
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.codes == other.codes
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.codes.hash(hasher);
    }
}

/// Small numbers in one, which is much faster to compare and to hash.
struct Code(u64);

impl Code {
    fn add(&mut self, value: u8, bits: u32) {
        self.0 = self.0 << bits | u64::from(value);
    }

    fn index(&mut self, index: Option<u8>) {
        self.add(index.map_or(0, |index| index + 1), 2);
    }

    fn message(&mut self, message: Option<Message>) {
        let (kind, one, two) = match message {
            None => (0, 0, 0),
            Some(Message::Campaign { epoch }) => (1, epoch, 0),
            Some(Message::Won { create, reign }) => (2, create, reign),
            Some(Message::Record { epoch, reign }) => (3, epoch, reign),
            Some(Message::Write { create, reign }) => (4, create, reign),
            Some(Message::Resign { create, to }) => (5, create, to.map_or(0, |to| to + 1)),
        };
        self.add(kind, 3);
        self.add(one, 3);
        self.add(two, 3);
    }
}
