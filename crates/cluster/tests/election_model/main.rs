//! Is the election of coordinators right in every order of events, and not only in those that tests happen on?
//!
//! The protocol of `redkite_cluster::Candidate` and `Leadership` as a small state machine, of which every
//! state within stated bounds is visited: what candidates do, requests that arrive late, unanswered, or
//! never, leases that end, standbys that take a living one for dead. `docs/rfcs/0003-coordinator-ha.md`
//! says what is covered and where the model and the code differ.
//!
//! `protocol` is what candidates and the store do, `state` what there is to know at one moment,
//! `properties` what must hold then. Each rule of the protocol is also left out once: then a property
//! must fail, so none of them holds for want of trying.

mod properties;
mod protocol;
mod state;

use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

use crate::properties as says;
use crate::protocol::{Election, Step, Without};
use crate::state::State;

/// Visits every state. What must hold holds in each of them, and what must be possible is.
fn check_everything(name: &str, model: Election) {
    let began = Instant::now();
    let checker = model.checker().spawn_bfs().join();
    for property in model.properties() {
        let found = checker.discovery(property.name).map(tell);
        match property.expectation {
            Expectation::Sometimes => assert!(found.is_some(), "{name}, never: {}", property.name),
            _ => assert!(found.is_none(), "{name}, not: {}: {}", property.name, found.unwrap_or_default()),
        }
    }
    println!(
        "{name}: {} states, {} steps between them, at most {} steps deep, {:.1?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth() - 1,
        began.elapsed()
    );
}

/// Leaves out a rule and looks for a way in which each of `broken` fails.
fn check_without(rule: Without, broken: &[&'static str]) {
    let model = Election { without: Some(rule), ..Election::of_two() };
    let all = HasDiscoveries::AllOf(broken.iter().copied().collect());
    let checker = model.checker().finish_when(all).spawn_bfs().join();
    for property in broken {
        let found = checker.discovery(property).map(tell);
        let told = found.unwrap_or_else(|| panic!("without {rule:?} still: {property}"));
        println!("without {rule:?}, not: {property}: {told}");
    }
}

/// Who did what. The places of candidates change on the way, their names do not.
fn tell(path: Path<State, Step>) -> String {
    let named = |(state, step): (State, Option<Step>)| {
        let mut told = format!("{:?}", step?);
        for (slot, candidate) in state.candidates.iter().enumerate() {
            told = told.replace(&slot.to_string(), &candidate.name.to_string());
        }
        Some(told)
    };
    path.into_vec().into_iter().filter_map(named).collect::<Vec<_>>().join(", ")
}

#[test]
fn three_candidates_hand_over_die_and_take_over() {
    check_everything("three candidates", Election::of_three());
}

#[test]
#[ignore = "takes minutes: for changes of the protocol"]
fn three_candidates_at_length() {
    check_everything("three candidates, at length", Election::of_three_at_length());
}

#[test]
fn two_candidates_through_more_epochs_and_late_requests() {
    check_everything("two candidates", Election::of_two());
}

#[test]
fn without_the_fence_an_older_epoch_writes() {
    check_without(Without::Fence, &[says::NO_OLD_WRITE]);
}

#[test]
fn a_key_that_is_overwritten_fences_nobody() {
    check_without(Without::NewKey, &[says::NO_OLD_WRITE, says::ONE_SERVES]);
}

#[test]
fn a_record_in_a_transaction_of_its_own_proves_nothing() {
    check_without(Without::RecordWithKey, &[says::ONE_WRITER, says::DENSE]);
}

#[test]
fn a_record_that_is_not_compared_is_written_twice() {
    check_without(Without::RecordOnce, &[says::ONE_WRITER, says::DENSE]);
}

#[test]
fn a_clock_that_is_behind_serves_beside_another() {
    check_without(Without::OwnClockFirst, &[says::ONE_SERVES, says::SERVES_AS_ACTIVE]);
}

#[test]
fn who_resigns_stops_serving_first() {
    check_without(Without::StopBeforeResigning, &[says::ONE_SERVES, says::SERVES_AS_ACTIVE]);
}

#[test]
fn who_may_have_resigned_does_not_serve_again() {
    check_without(Without::RepeatedResignation, &[says::ONE_SERVES, says::SERVES_AS_ACTIVE]);
}

#[test]
fn a_hint_without_end_blocks() {
    check_without(Without::Patience, &[says::NEVER_STUCK]);
}

#[test]
fn a_victory_that_is_not_recognised_blocks() {
    check_without(Without::FindingOwnKey, &[says::NEVER_STUCK]);
}
