//! Whose turn it is to carry out a fence: a broken line between one controller and one BMC stops nothing.

use std::collections::BTreeSet;

use super::rig::{OFF, Rig, host};
use crate::state::{Flaw, Record};
use crate::{Change, ControllerId, Doubt, LogIndex, OffSeen, Outcome, Refusal, Stage, State, Token, Work};

const DOUBT: Outcome<OffSeen> = Outcome::Unknown(Doubt::Timeout);
const ON: Outcome<OffSeen> = Outcome::Observed(OffSeen { reads: 1, sessions: 1, ordered: true });

/// Returns the level of the attempt that is due, and whose turn it is; 0 is whoever leads.
fn turn(rig: &Rig) -> (u8, u64) {
    let Some(Work::Fence(work)) = rig.state.work().into_iter().next() else { panic!("a fence is due") };
    (work.level, work.executor.map_or(0, |executor| executor.0))
}

/// Makes the attempt that is due, as whoever's turn it is, or as this leader.
fn attempt(rig: &mut Rig, token: Token, leader: u64, outcomes: &[Outcome<OffSeen>]) {
    let (_, executor) = turn(rig);
    let by = if executor == 0 { leader } else { executor };
    stand_in(rig, token, by, outcomes);
}

/// Makes the attempt that is due as this controller, whosever turn it is.
fn stand_in(rig: &mut Rig, token: Token, by: u64, outcomes: &[Outcome<OffSeen>]) {
    let fence = rig.state.fence(&token).unwrap();
    let (level, not_before) = (fence.level, fence.not_before);
    rig.clock = rig.clock.max(not_before.0);
    let life = crate::Settings::default().permit_life;
    rig.ok(Change::PermitGrant { token, executor: ControllerId(by), level, life });
    let permit = LogIndex(rig.index);
    rig.ok(Change::FenceResult { token, permit, outcomes: outcomes.to_vec() });
}

/// Host 2, which has so many levels, is being fenced.
fn fencing(levels: u8) -> (Rig, Token) {
    let mut rig = Rig::green();
    let change = rig.enrolment(2, levels);
    rig.ok(change);
    let token = rig.decide(2);
    (rig, token)
}

fn turns(rig: &mut Rig, token: Token, leader: u64, count: usize) -> Vec<(u8, u64)> {
    let mut seen = vec![turn(rig)];
    for _ in 0..count {
        attempt(rig, token, leader, &[DOUBT]);
        seen.push(turn(rig));
    }
    seen
}

#[test]
fn after_a_doubt_it_is_the_next_voters_turn_and_a_level_begins_with_whoever_leads() {
    let (mut rig, token) = fencing(2);
    assert_eq!(turns(&mut rig, token, 2, 5), [(0, 0), (0, 3), (0, 1), (1, 0), (1, 3), (1, 1)]);
}

#[test]
fn each_round_that_waits_for_a_person_is_the_next_voters_with_all_its_levels() {
    let (mut rig, token) = fencing(2);
    turns(&mut rig, token, 1, 6);
    assert_eq!(rig.state.fence(&token).unwrap().stage, Stage::NeedsHuman);
    assert_eq!(turns(&mut rig, token, 1, 6), [(0, 1), (1, 1), (0, 2), (1, 2), (0, 3), (1, 3), (0, 1)]);
}

#[test]
fn whoever_stands_in_for_a_voter_tries_in_its_turn() {
    let (mut rig, token) = fencing(1);
    attempt(&mut rig, token, 1, &[DOUBT]);
    assert_eq!(turn(&rig), (0, 2));
    stand_in(&mut rig, token, 1, &[DOUBT]);
    assert_eq!(turn(&rig), (0, 3), "controller 2 was away, and controller 3 was not asked yet");
}

#[test]
fn a_device_that_answers_without_obeying_is_left_to_the_same_executor() {
    let (mut rig, token) = fencing(1);
    attempt(&mut rig, token, 1, &[ON]);
    assert_eq!(turn(&rig), (0, 0));
    attempt(&mut rig, token, 1, &[DOUBT]);
    assert_eq!(turn(&rig), (0, 2));
    let (mut rig, token) = fencing(1);
    attempt(&mut rig, token, 1, &[DOUBT]);
    attempt(&mut rig, token, 1, &[ON]);
    assert_eq!(turn(&rig), (0, 2));
}

#[test]
fn one_silent_device_of_a_level_is_a_doubt() {
    let mut rig = Rig::green();
    let Change::HostEnrol { host: name, mut enrolment } = rig.enrolment(2, 2) else { unreachable!() };
    let second = enrolment.levels.remove(1).devices;
    enrolment.levels[0].devices.extend(second);
    rig.ok(Change::HostEnrol { host: name, enrolment });
    let token = rig.decide(2);
    attempt(&mut rig, token, 1, &[ON, OFF]);
    assert_eq!(turn(&rig), (0, 0));
    attempt(&mut rig, token, 1, &[ON, DOUBT]);
    assert_eq!(turn(&rig), (0, 2));
}

#[test]
fn an_executor_whose_permit_ran_out_leaves_it_to_the_next() {
    let (mut rig, token) = fencing(1);
    attempt(&mut rig, token, 1, &[Outcome::Refused(Refusal::PermitEnded)]);
    assert_eq!(turn(&rig), (0, 2));
}

#[test]
fn after_a_refusal_the_next_level_begins_with_whoever_leads() {
    let (mut rig, token) = fencing(2);
    attempt(&mut rig, token, 1, &[DOUBT]);
    attempt(&mut rig, token, 1, &[Outcome::Refused(Refusal::Credentials)]);
    assert_eq!(turn(&rig), (1, 0));
}

#[test]
fn a_new_enrolment_begins_with_whoever_leads() {
    let (mut rig, token) = fencing(1);
    attempt(&mut rig, token, 1, &[DOUBT]);
    let change = rig.enrolment(2, 1);
    rig.ok(change);
    assert_eq!(turn(&rig), (0, 0));
}

fn voters(rig: &mut Rig, voters: &[u64]) {
    rig.index += 1;
    rig.state.apply_voters(LogIndex(rig.index), &voters.iter().copied().map(ControllerId).collect::<BTreeSet<_>>());
    assert_eq!(rig.state.check(), []);
}

#[test]
fn the_turn_of_a_controller_that_left_goes_to_whoever_leads() {
    let (mut rig, token) = fencing(1);
    attempt(&mut rig, token, 1, &[DOUBT]);
    assert_eq!(turn(&rig), (0, 2));
    voters(&mut rig, &[1, 2, 4]);
    assert_eq!(turn(&rig), (0, 2));
    voters(&mut rig, &[1, 3, 4]);
    assert_eq!(turn(&rig), (0, 0));
    attempt(&mut rig, token, 1, &[DOUBT]);
    assert_eq!(turn(&rig), (0, 3));
}

#[test]
fn a_voter_alone_has_nobody_to_leave_it_to() {
    let (mut rig, token) = fencing(1);
    voters(&mut rig, &[1]);
    assert_eq!(turns(&mut rig, token, 1, 4), [(0, 0); 5]);
}

#[test]
fn nobody_has_a_turn_at_a_proven_fence_and_only_voters_have_one() {
    let (mut rig, token) = fencing(1);
    attempt(&mut rig, token, 1, &[DOUBT]);
    let with = |rig: &Rig, executor| {
        let mut records = rig.state.records();
        for record in &mut records {
            if let Record::Fence(row) = record {
                row.executor = Some(ControllerId(executor));
            }
        }
        State::from_records(records).check()
    };
    let strange = |executor| vec![Flaw::StrangeExecutor { token, controller: ControllerId(executor) }];
    assert_eq!(with(&rig, 3), []);
    assert_eq!(with(&rig, 4), strange(4));
    attempt(&mut rig, token, 1, &[OFF]);
    assert_eq!(rig.state.fence(&token).unwrap().executor, None);
    assert_eq!(rig.state.host(&host(2)).unwrap().fence(), Some(token));
    assert_eq!(with(&rig, 3), strange(3));
}
