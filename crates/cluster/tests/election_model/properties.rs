//! What must hold at every moment, and what must be possible.

use stateright::{Model, Property};

use crate::protocol::{Election, Step};
use crate::state::{Broken, Candidate, EPOCHS, Lease, Message, Phase, State};

pub(crate) const NO_OLD_WRITE: &str = "no write of an older epoch lands after a newer one has begun";
pub(crate) const ONE_WRITER: &str = "the record of an epoch is written once";
pub(crate) const DENSE: &str = "epochs are numbered without gaps, in the order in which they began";
pub(crate) const ONE_SERVES: &str = "of those who serve, all but one were taken for dead by another";
pub(crate) const SERVES_AS_ACTIVE: &str = "who serves, and was not taken for dead, has the active key";
pub(crate) const NEVER_STUCK: &str = "a candidate that is left alone becomes active";

type Must = Property<Election>;

/// Of one model.
pub(crate) fn of(model: &Election) -> Vec<Must> {
    let mut properties = vec![
        Must::always(NO_OLD_WRITE, |_, state| state.broken != Some(Broken::OldWrite)),
        Must::always(ONE_WRITER, |_, state| state.broken != Some(Broken::SecondWriter)),
        Must::always(DENSE, |_, state| state.is_dense()),
        Must::always(ONE_SERVES, |_, state| serving(state).count() <= 1),
        Must::always(SERVES_AS_ACTIVE, |_, state| {
            serving(state).all(|(slot, candidate)| state.owns(slot) && state.created_at(candidate.create))
        }),
        Must::sometimes("the successor whom a hint names takes over", |_, state| {
            let named = |to: u8| wins(state, &state.candidates[usize::from(to)]);
            state.key.is_none() && state.hint.is_some_and(named)
        }),
        Must::sometimes("another takes over, for whom the hint names does not", |_, state| {
            let late = |(slot, candidate): (usize, &Candidate)| state.defers(slot) && wins(state, candidate);
            state.key.is_none() && each(state).any(late)
        }),
        Must::sometimes("a candidate takes over from a dead one", |_, state| {
            let dead = each(state).filter(|(_, candidate)| candidate.phase == Phase::Dead);
            let led = dead.map(|(_, candidate)| candidate.epoch).max();
            led.is_some_and(|led| led > 0 && serving(state).any(|(_, candidate)| candidate.epoch > led))
        }),
        Must::sometimes("the fence refuses the write of one who slept through its lease", |_, state| {
            let refused = |candidate: &Candidate| match candidate.awaited {
                Some(Message::Write { create, .. }) => is_anothers(state, create) && !candidate.fresh,
                _ => false,
            };
            each(state).any(|(_, candidate)| refused(candidate))
        }),
        Must::sometimes("the fence refuses a write that was given up long ago", |_, state| {
            let refused = |candidate: &Candidate| match candidate.stray {
                Some(Message::Write { create, .. }) => is_anothers(state, create) && candidate.serves(),
                _ => false,
            };
            each(state).any(|(_, candidate)| refused(candidate))
        }),
        Must::sometimes("a candidate has won and does not know, for the answer was lost", |_, state| {
            each(state).any(|(slot, candidate)| state.owns(slot) && candidate.phase == Phase::Idle)
        }),
        Must::sometimes("a victory is learned when another is active already", |_, state| {
            let late = |candidate: &Candidate| match candidate.awaited {
                Some(Message::Won { create, .. }) => is_anothers(state, create),
                _ => false,
            };
            each(state).any(|(_, candidate)| late(candidate))
        }),
        Must::sometimes("a resignation is repeated while the first is still on its way", |_, state| {
            each(state).any(|(_, candidate)| {
                let resigns = |message| matches!(message, Some(Message::Resign { .. }));
                resigns(candidate.stray) && resigns(candidate.awaited)
            })
        }),
        // Not wanted, but possible, as the next one is: see the RFC.
        Must::sometimes("one who was taken for dead serves beside its successor", |_, state| {
            each(state).filter(|(_, candidate)| candidate.serves()).count() > 1
        }),
    ];
    if model.reads {
        properties.push(Must::sometimes("a read is answered late", |_, state| {
            let late = |candidate: &Candidate| candidate.reading && !candidate.serves();
            each(state).any(|(_, candidate)| late(candidate)) && serving(state).count() > 0
        }));
    }
    if model.alone {
        properties.push(Must::always(NEVER_STUCK, |model, state| {
            let full = usize::from(state.epoch) == EPOCHS;
            full || each(state)
                .all(|(_, candidate)| !candidate.runs() || becomes_active(model, state, candidate.name))
        }));
    }
    properties
}

fn each(state: &State) -> impl Iterator<Item = (usize, &Candidate)> {
    state.candidates.iter().enumerate()
}

/// Those whose calls are answered, without those whose lease was ended by another and who do not know it yet.
fn serving(state: &State) -> impl Iterator<Item = (usize, &Candidate)> {
    each(state).filter(|(_, candidate)| {
        candidate.serves() && !matches!(candidate.lease, Lease::Buried | Lease::Revoked)
    })
}

fn is_anothers(state: &State, create: u8) -> bool {
    state.key.is_some_and(|key| key.create != create)
}

fn wins(state: &State, candidate: &Candidate) -> bool {
    candidate.awaited == Some(Message::Campaign { epoch: state.epoch + 1 }) && candidate.lease.lives()
}

/// More than any candidate needs.
const STEPS: usize = 24;

/// Whether a candidate becomes active if from now on nobody else does anything, time passes, and what it
/// sends arrives. Hence nothing that others did, or left undone, is in its way for ever.
fn becomes_active(model: &Election, state: &State, name: char) -> bool {
    let mut state = *state;
    for _ in 0..STEPS {
        let (slot, candidate) =
            each(&state).find(|(_, candidate)| candidate.name == name).expect("no candidate is lost");
        if candidate.serves() && state.owns(slot) && state.created_at(candidate.create) {
            return true;
        }
        let Some(next) = next_alone(&state, slot).and_then(|step| model.next_state(&state, step)) else {
            return false;
        };
        state = next;
    }
    false
}

/// What a candidate does that is alone.
fn next_alone(state: &State, slot: usize) -> Option<Step> {
    let candidate = &state.candidates[slot];
    let me = slot as u8;
    if candidate.awaited.is_some() {
        return Some(Step::Deliver(me));
    }
    let alive = candidate.lease.lives();
    Some(match candidate.phase {
        Phase::Absent | Phase::Dead | Phase::Campaigning => return None,
        Phase::Leading if !state.created_at(candidate.create) => Step::SeeKeyGone(me),
        Phase::Leading | Phase::Resigning => Step::Resign { of: me, to: None },
        Phase::Idle if !alive => Step::Register(me),
        Phase::Idle | Phase::Deferring => match state.key {
            Some(key) if usize::from(key.owner) != slot => time_passes_for(state, key.owner),
            None if candidate.phase == Phase::Deferring => Step::LosePatience(me),
            _ => Step::Campaign(me),
        },
    })
}

/// An owner that renews nothing.
fn time_passes_for(state: &State, owner: u8) -> Step {
    if state.candidates[usize::from(owner)].fresh { Step::ClockRunsOut(owner) } else { Step::Expire(owner) }
}
