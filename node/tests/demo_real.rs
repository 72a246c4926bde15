//! All lessons of `quorumfence demo` with real hosts. Needs root on Linux and what `deploy/packages.sh demo` installs:
//! without them it fails and says what is missing.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "demo/run.rs"]
mod run;

/// Guests of one host.
const GUESTS: usize = 2;

#[test]
fn a_host_without_power_is_found_off_and_its_guests_run_elsewhere() {
    run::power_cut("real", GUESTS);
}

#[test]
fn a_host_that_is_cut_off_is_off_before_its_guests_run_elsewhere() {
    run::partition("real", GUESTS);
}

#[test]
fn nothing_moves_while_no_bmc_answers_until_a_person_vouches() {
    run::bmc_dead("real", GUESTS);
}

#[test]
fn a_leader_that_dies_after_the_decision_leaves_one_fence_and_one_start() {
    run::leader_dies("real", GUESTS);
}
