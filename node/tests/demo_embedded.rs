//! All lessons of `quorumfence demo --embedded`.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "demo/run.rs"]
mod run;

/// Guests of one host.
const GUESTS: usize = 5;

#[test]
fn a_host_without_power_is_found_off_and_its_guests_run_elsewhere() {
    run::power_cut("embedded", GUESTS);
}

#[test]
fn a_host_that_is_cut_off_is_off_before_its_guests_run_elsewhere() {
    run::partition("embedded", GUESTS);
}

#[test]
fn nothing_moves_while_no_bmc_answers_until_a_person_vouches() {
    run::bmc_dead("embedded", GUESTS);
}

#[test]
fn a_leader_that_dies_after_the_decision_leaves_one_fence_and_one_start() {
    run::leader_dies("embedded", GUESTS);
}
