//! What candidates and the store do.

use stateright::{Model, Property};

use crate::properties;
use crate::state::{Broken, Candidate, EPOCHS, Key, Lease, Message, Phase, SLOTS, State};

/// The bounds, and which rule is left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Election {
    pub(crate) candidates: usize,
    /// So many requests may be on their way with nobody waiting, at most one of each candidate.
    pub(crate) strays: usize,
    /// Whether calls take time between the check of the clock and the answer.
    pub(crate) reads: bool,
    /// Whether it is tried in every state that a candidate left alone becomes active.
    pub(crate) alone: bool,
    pub(crate) without: Option<Without>,
}

/// A rule of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Without {
    /// Writes compare the revision that created the active key.
    Fence,
    /// Who takes over ends the lease of the old one and creates the key anew; it is not overwritten.
    NewKey,
    /// The record of the epoch is written by the transaction that creates the key.
    RecordWithKey,
    /// That transaction compares that the epoch has no record yet.
    RecordOnce,
    /// A candidate stops serving before its lease can have ended by time.
    OwnClockFirst,
    /// It stops serving before it sends its resignation.
    StopBeforeResigning,
    /// It repeats a resignation that was not answered, instead of campaigning again.
    RepeatedResignation,
    /// It leaves the first move to another for a while only.
    Patience,
    /// A key under its own lease is its victory.
    FindingOwnKey,
}

/// Who does what; the number is a candidate's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Register(u8),
    Campaign(u8),
    LosePatience(u8),
    Write(u8),
    StartRead(u8),
    AnswerRead(u8),
    Resign {
        of: u8,
        to: Option<u8>,
    },
    /// Its clock says that the lease may have ended.
    ClockRunsOut(u8),
    /// Sees that the active key is gone, or another's.
    SeeKeyGone(u8),
    Die(u8),
    /// The awaited request reaches the store, or the awaited answer the candidate.
    Deliver(u8),
    /// Waits no more; the request may arrive yet.
    GiveUp(u8),
    DeliverStray(u8),
    DropStray(u8),
    /// The store ends the lease, for its time is over.
    Expire(u8),
    /// A standby takes the active one for dead, rightly or wrongly, and deletes its key.
    Bury(u8),
    /// The same, and ends its lease; or ends the lease of one whose key is deleted.
    Revoke(u8),
    /// As it must not be: a standby puts itself in the place of the active one.
    Overwrite(u8),
}

impl Model for Election {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.candidates).in_order()]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for slot in 0..SLOTS as u8 {
            let candidate = &state.candidates[usize::from(slot)];
            self.steps_of(slot, candidate, steps);
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = *state;
        self.step(&mut next, step)?;
        next.settle(self.compares_records());
        if next.epoch != state.epoch && self.without.is_none() && next.is_dense() {
            next = next.renumbered();
        }
        Some(next.in_order())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(self)
    }
}

impl Election {
    pub(crate) fn of_three() -> Self {
        Self { candidates: 3, strays: 1, reads: false, alone: true, without: None }
    }

    /// Takes minutes.
    pub(crate) fn of_three_at_length() -> Self {
        Self { strays: 3, reads: true, ..Self::of_three() }
    }

    pub(crate) fn of_two() -> Self {
        Self { candidates: 2, strays: 2, reads: true, alone: true, without: None }
    }

    fn lacks(&self, rule: Without) -> bool {
        self.without == Some(rule)
    }

    /// Whether the transaction that creates the key compares the record of the epoch.
    fn compares_records(&self) -> bool {
        !self.lacks(Without::RecordWithKey) && !self.lacks(Without::RecordOnce)
    }

    /// Steps that may be possible; [`Self::step`] decides.
    fn steps_of(&self, slot: u8, candidate: &Candidate, steps: &mut Vec<Step>) {
        if candidate.lease.lives() {
            steps.extend([Step::Expire(slot), Step::Bury(slot), Step::Revoke(slot)]);
        }
        if candidate.stray.is_some() {
            steps.extend([Step::DeliverStray(slot), Step::DropStray(slot)]);
        }
        if !candidate.runs() {
            return;
        }
        steps.push(Step::Die(slot));
        if candidate.awaited.is_some() {
            steps.extend([Step::Deliver(slot), Step::GiveUp(slot)]);
        }
        if candidate.fresh {
            steps.push(Step::ClockRunsOut(slot));
        }
        if self.reads {
            steps.extend([Step::StartRead(slot), Step::AnswerRead(slot)]);
        }
        match candidate.phase {
            Phase::Absent | Phase::Dead | Phase::Campaigning => return,
            Phase::Idle if candidate.lease.lives() => steps.push(Step::Campaign(slot)),
            Phase::Idle => steps.push(Step::Register(slot)),
            Phase::Deferring => steps.extend([Step::Campaign(slot), Step::LosePatience(slot)]),
            Phase::Leading => steps.extend([Step::Write(slot), Step::SeeKeyGone(slot)]),
            Phase::Resigning => {}
        }
        if matches!(candidate.phase, Phase::Leading | Phase::Resigning) {
            steps.push(Step::Resign { of: slot, to: None });
            let others = (0..SLOTS as u8).filter(|to| *to != slot);
            steps.extend(others.map(|to| Step::Resign { of: slot, to: Some(to) }));
        } else if self.lacks(Without::NewKey) {
            steps.push(Step::Overwrite(slot));
        }
    }

    /// Takes a step, or says that it is not possible.
    fn step(&self, state: &mut State, step: Step) -> Option<()> {
        let room =
            state.candidates.iter().filter(|candidate| candidate.stray.is_some()).count() < self.strays;
        match step {
            Step::Register(i) => register(at(state, i)),
            Step::Campaign(i) => self.campaign(state, usize::from(i)),
            Step::LosePatience(i) => self.lose_patience(state, usize::from(i)),
            Step::Write(i) => write(at(state, i)),
            Step::StartRead(i) => start_read(at(state, i)),
            Step::AnswerRead(i) => answer_read(at(state, i)),
            Step::Resign { of, to } => self.resign(state, usize::from(of), to),
            Step::ClockRunsOut(i) => clock_runs_out(at(state, i)),
            Step::SeeKeyGone(i) => see_key_gone(state, usize::from(i), room),
            Step::Die(i) => die(at(state, i), room),
            Step::Deliver(i) => self.deliver(state, usize::from(i)),
            Step::GiveUp(i) => self.give_up(at(state, i), room),
            Step::DeliverStray(i) => {
                let request = at(state, i).stray.take()?;
                self.apply(state, usize::from(i), request);
                Some(())
            }
            Step::DropStray(i) => at(state, i).stray.take().map(drop),
            Step::Expire(i) => self.expire(state, usize::from(i)),
            Step::Bury(i) => self.bury(state, usize::from(i)),
            Step::Revoke(i) => self.revoke(state, usize::from(i)),
            Step::Overwrite(i) => self.overwrite(state, usize::from(i)),
        }
    }

    /// Reads active key, last epoch and hint, and tries to create the key if it is free. A key of its own is
    /// a victory that it has not heard of.
    fn campaign(&self, state: &mut State, slot: usize) -> Option<()> {
        if state.key.is_none() {
            return match (state.defers(slot), state.candidates[slot].phase) {
                (true, Phase::Deferring) => None,
                (true, _) => {
                    state.candidates[slot].phase = Phase::Deferring;
                    Some(())
                }
                (false, _) => self.send_campaign(state, slot),
            };
        }
        let key = state.key.filter(|_| state.owns(slot) && !self.lacks(Without::FindingOwnKey))?;
        learn(&mut state.candidates[slot], key);
        Some(())
    }

    fn lose_patience(&self, state: &mut State, slot: usize) -> Option<()> {
        let open = state.key.is_none() && !self.lacks(Without::Patience);
        open.then(|| self.send_campaign(state, slot)).flatten()
    }

    fn send_campaign(&self, state: &mut State, slot: usize) -> Option<()> {
        let epoch = state.epoch + 1;
        // With all rules, epochs are renumbered and do not end.
        (epoch <= EPOCHS as u8).then(|| {
            let candidate = &mut state.candidates[slot];
            candidate.phase = Phase::Campaigning;
            candidate.awaited = Some(Message::Campaign { epoch });
        })
    }

    /// Once more, if it was not answered.
    fn resign(&self, state: &mut State, slot: usize, to: Option<u8>) -> Option<()> {
        // A successor must be registered, as far as the store knows.
        let alive = to.is_none_or(|to| state.candidates[usize::from(to)].lease.lives());
        let candidate = &mut state.candidates[slot];
        (alive && candidate.awaited.is_none()).then(|| {
            let Candidate { create, fresh, .. } = *candidate;
            candidate.rest();
            candidate.phase = Phase::Resigning;
            candidate.create = create;
            candidate.fresh = fresh && self.lacks(Without::StopBeforeResigning);
            candidate.awaited = Some(Message::Resign { create, to });
        })
    }

    fn give_up(&self, candidate: &mut Candidate, room: bool) -> Option<()> {
        cast_off(candidate, room)?;
        match candidate.phase {
            Phase::Campaigning => candidate.rest(),
            Phase::Resigning if self.lacks(Without::RepeatedResignation) => candidate.rest(),
            _ => {}
        }
        Some(())
    }

    fn deliver(&self, state: &mut State, slot: usize) -> Option<()> {
        let message = state.candidates[slot].awaited.take()?;
        if let Message::Won { create, reign } = message {
            self.begin(&mut state.candidates[slot], create, reign);
            return Some(());
        }
        let answer = self.apply(state, slot, message);
        let candidate = &mut state.candidates[slot];
        match answer {
            Answer::Won(key) => learn(candidate, key),
            Answer::Refused => candidate.rest(),
            Answer::Done if candidate.phase == Phase::Resigning => candidate.rest(),
            Answer::Done => {}
        }
        Some(())
    }

    /// Learns that it is active.
    fn begin(&self, candidate: &mut Candidate, create: u8, reign: u8) {
        candidate.phase = Phase::Leading;
        candidate.create = create;
        candidate.reign = reign;
        // If the time of the lease is over, its own clock says so, too.
        candidate.fresh = candidate.lease != Lease::Expired;
        if self.lacks(Without::RecordWithKey) {
            candidate.awaited = Some(Message::Record { epoch: candidate.epoch, reign });
        }
    }

    /// What the store makes of a request.
    fn apply(&self, state: &mut State, slot: usize, request: Message) -> Answer {
        match request {
            Message::Campaign { epoch } => self.elect(state, slot, epoch),
            Message::Won { .. } => unreachable!("an answer"),
            Message::Record { epoch, reign } => {
                state.record(epoch, reign);
                Answer::Done
            }
            Message::Write { create, reign } => {
                if !state.created_at(create) && !self.lacks(Without::Fence) {
                    return Answer::Refused;
                }
                if reign < state.reigns {
                    state.broken = Some(Broken::OldWrite);
                }
                Answer::Done
            }
            Message::Resign { create, to } => {
                if state.created_at(create) {
                    state.key = None;
                    state.hint = to;
                }
                Answer::Done
            }
        }
    }

    fn elect(&self, state: &mut State, slot: usize, epoch: u8) -> Answer {
        let free = state.key.is_none() && state.candidates[slot].lease.lives();
        let recorded = self.compares_records() && state.has_record(epoch);
        if !free || recorded || usize::from(state.reigns) == EPOCHS {
            return Answer::Refused;
        }
        state.revision += 1;
        state.reigns += 1;
        let (create, reign) = (state.revision, state.reigns);
        state.candidates[slot].lease = Lease::Alive;
        let key = Key { owner: slot as u8, create, reign, epoch };
        state.key = Some(key);
        state.hint = None;
        if !self.lacks(Without::RecordWithKey) {
            state.record(epoch, reign);
        }
        Answer::Won(key)
    }

    fn expire(&self, state: &mut State, slot: usize) -> Option<()> {
        let over = !state.candidates[slot].fresh || self.lacks(Without::OwnClockFirst);
        over.then(|| end_lease(state, slot, Lease::Expired))
    }

    fn bury(&self, state: &mut State, slot: usize) -> Option<()> {
        (self.is_watched(state, slot) && state.owns(slot)).then(|| {
            state.key = None;
            state.candidates[slot].lease = Lease::Buried;
        })
    }

    fn revoke(&self, state: &mut State, slot: usize) -> Option<()> {
        let seen = state.owns(slot) || state.candidates[slot].lease == Lease::Buried;
        (self.is_watched(state, slot) && seen).then(|| end_lease(state, slot, Lease::Revoked))
    }

    /// Whether there is a standby that may take this candidate for dead.
    fn is_watched(&self, state: &State, slot: usize) -> bool {
        let others = |(other, candidate): (usize, &Candidate)| {
            other != slot && candidate.runs() && candidate.lease.lives()
        };
        !self.lacks(Without::NewKey) && state.candidates.iter().enumerate().any(others)
    }

    fn overwrite(&self, state: &mut State, slot: usize) -> Option<()> {
        let key = state.key?;
        let candidate = state.candidates[slot];
        let may = candidate.phase == Phase::Idle && candidate.lease.lives();
        (may && !state.owns(slot) && usize::from(state.epoch) < EPOCHS).then(|| {
            state.reigns += 1;
            state.record(state.epoch + 1, state.reigns);
            let (reign, epoch) = (state.reigns, state.epoch);
            state.key = Some(Key { owner: slot as u8, reign, epoch, ..key });
            let candidate = &mut state.candidates[slot];
            candidate.epoch = epoch;
            self.begin(candidate, key.create, reign);
        })
    }
}

/// What the store says.
enum Answer {
    Won(Key),
    /// A compare failed, or the lease has ended.
    Refused,
    Done,
}

/// Hears, a little later, that this key is its own.
fn learn(candidate: &mut Candidate, key: Key) {
    candidate.phase = Phase::Campaigning;
    candidate.epoch = key.epoch;
    candidate.awaited = Some(Message::Won { create: key.create, reign: key.reign });
}

fn at(state: &mut State, slot: u8) -> &mut Candidate {
    &mut state.candidates[usize::from(slot)]
}

/// Waits for its request no more, if there may be one more on its own.
fn cast_off(candidate: &mut Candidate, room: bool) -> Option<()> {
    match candidate.awaited.take() {
        // Has been applied.
        None | Some(Message::Won { .. }) => Some(()),
        // Will be refused.
        Some(Message::Campaign { .. }) if !candidate.lease.lives() => Some(()),
        Some(request) if room && candidate.stray.is_none() => {
            candidate.stray = Some(request);
            Some(())
        }
        Some(_) => None,
    }
}

/// Ends a lease, and the key that stands under it.
fn end_lease(state: &mut State, slot: usize, how: Lease) {
    if state.owns(slot) {
        state.key = None;
    }
    state.candidates[slot].lease = how;
}

/// Under a new lease, once it knows that the old one has ended.
fn register(candidate: &mut Candidate) -> Option<()> {
    (!candidate.lease.lives()).then(|| candidate.lease = Lease::Alive)
}

/// Whatever its clock says: a task may not have looked at it for long.
fn write(candidate: &mut Candidate) -> Option<()> {
    candidate.awaited.is_none().then(|| {
        candidate.awaited = Some(Message::Write { create: candidate.create, reign: candidate.reign });
    })
}

fn start_read(candidate: &mut Candidate) -> Option<()> {
    (candidate.serves() && !candidate.reading).then(|| candidate.reading = true)
}

fn answer_read(candidate: &mut Candidate) -> Option<()> {
    candidate.reading.then(|| candidate.reading = false)
}

fn clock_runs_out(candidate: &mut Candidate) -> Option<()> {
    candidate.fresh.then(|| candidate.fresh = false)
}

fn see_key_gone(state: &mut State, slot: usize, room: bool) -> Option<()> {
    let gone = !state.owns(slot) || !state.created_at(state.candidates[slot].create);
    let candidate = &mut state.candidates[slot];
    cast_off(candidate, room).filter(|()| gone)?;
    candidate.rest();
    Some(())
}

/// For good: a process that comes back is another candidate.
fn die(candidate: &mut Candidate, room: bool) -> Option<()> {
    let epoch = if candidate.phase == Phase::Leading { candidate.epoch } else { 0 };
    if cast_off(candidate, room).is_none() {
        // The process ended before it was sent.
        candidate.awaited = None;
    }
    candidate.rest();
    candidate.phase = Phase::Dead;
    candidate.epoch = epoch;
    candidate.reading = false;
    Some(())
}
