//! A state that contradicts itself is found, in whichever row the contradiction stands.

use super::rig::{Rig, boot, host, instance};
use crate::state::{Assignment, Flaw, Record, RecordKey, Recovery, RecoveryStage, Stage};
use crate::{
    ClusterTime, Controller, ControllerId, Evidence, Host, HostState, Instance, LogIndex, State, Token, Verdict,
};

/// The flaws of a state in which these rows are others.
fn flaws(rig: &Rig, change: impl Fn(&mut Record)) -> Vec<Flaw> {
    let mut records = rig.state.records();
    records.iter_mut().for_each(change);
    State::from_records(records).check()
}

fn with_host(number: u8, change: impl Fn(&mut Host)) -> impl Fn(&mut Record) {
    move |record| {
        if let Record::Host(row) = record
            && row.id == host(number)
        {
            change(row);
        }
    }
}

fn with_instance(number: u8, change: impl Fn(&mut Instance)) -> impl Fn(&mut Record) {
    move |record| {
        if let Record::Instance(row) = record
            && row.id == instance(number)
        {
            change(row);
        }
    }
}

fn token(index: u64) -> Token {
    Token(LogIndex(index))
}

fn recovery(fence: Token, stage: RecoveryStage) -> Option<Recovery> {
    Some(Recovery { fence, stage, refusals: 0, not_before: ClusterTime::default() })
}

#[test]
fn a_host_rests_on_its_own_fence() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    let missing = |token| vec![Flaw::FenceMissing { host: host(2), token }];
    for state in [HostState::Fencing { token: token(7) }, HostState::Fenced { token: token(7) }] {
        assert_eq!(flaws(&rig, with_host(2, |row| row.state = state)), missing(token(7)));
    }
    let others = rig.decide(1);
    assert_eq!(flaws(&rig, with_host(2, |row| row.state = HostState::Fencing { token: others })), missing(others));
}

#[test]
fn a_fence_is_proven_when_its_host_is_fenced_and_not_before() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    let token = rig.decide(2);
    let flaw = vec![Flaw::ProofMissing { host: host(2), token }];
    assert_eq!(flaws(&rig, with_host(2, |row| row.state = HostState::Fenced { token })), flaw);
    let permit = rig.permit(token);
    rig.ok(crate::Change::FenceResult { token, permit, outcomes: vec![super::rig::OFF] });
    assert_eq!(flaws(&rig, with_host(2, |row| row.state = HostState::Fencing { token })), flaw);
}

#[test]
fn only_voters_have_votes() {
    let rig = Rig::green();
    let stranger = ControllerId(7);
    let vote = crate::CastVote {
        verdict: Verdict::Unreachable,
        at: LogIndex(1),
        clock: ClusterTime(0),
        evidence: Evidence::default(),
    };
    let voted = with_host(2, |row| {
        row.votes.insert(stranger, vote.clone());
    });
    assert_eq!(flaws(&rig, voted), [Flaw::StrangeVote { host: host(2), controller: stranger }]);
}

#[test]
fn a_recovery_rests_on_a_proof_and_its_assignment_is_younger_and_goes_to_no_fenced_host() {
    let mut rig = Rig::green();
    let fence = rig.fence(2);
    let to = |token, number| RecoveryStage::Assigned(Assignment { token, host: host(number), boot: boot(number) });
    let assigned =
        |fence, stage: RecoveryStage| with_instance(2, move |row| row.recovery = recovery(fence, stage.clone()));
    let younger = token(fence.0.0 + 1);
    assert_eq!(flaws(&rig, assigned(fence, to(younger, 1))), []);
    let order = Flaw::TokenOrder { instance: instance(2), fence, assignment: fence };
    assert_eq!(flaws(&rig, assigned(fence, to(fence, 1))), [order]);
    for target in [2, 7] {
        let fenced = Flaw::AssignedToFenced { instance: instance(2), host: host(target) };
        assert_eq!(flaws(&rig, assigned(fence, to(younger, target))), [fenced]);
    }
    let unproven = vec![Flaw::RecoveryWithoutProof { instance: instance(2), fence: token(1) }];
    assert_eq!(flaws(&rig, assigned(token(1), RecoveryStage::Waiting)), unproven);
    let proven = |record: &mut Record| {
        if let Record::Fence(row) = record {
            row.stage = Stage::NeedsHuman;
        }
    };
    let without_proof = Flaw::RecoveryWithoutProof { instance: instance(2), fence };
    assert_eq!(flaws(&rig, proven), [Flaw::ProofMissing { host: host(2), token: fence }, without_proof]);
}

#[test]
fn what_a_fenced_host_ran_is_not_forgotten() {
    let mut rig = Rig::green();
    rig.fence(2);
    let forgotten = Flaw::Forgotten { instance: instance(2), host: host(2) };
    assert_eq!(flaws(&rig, with_instance(2, |row| row.recovery = None)), [forgotten]);
    let unprotected = with_instance(2, |row| {
        row.recovery = None;
        row.ha_enabled = false;
    });
    assert_eq!(flaws(&rig, unprotected), [], "nobody asked for its recovery");
    let stopped = with_instance(2, |row| {
        row.recovery = None;
        row.state = crate::InstanceState::Stopped;
    });
    assert_eq!(flaws(&rig, stopped), [], "it did not run");
    assert_eq!(flaws(&Rig::green(), with_instance(2, |row| row.recovery = None)), [], "its host is up");
}

#[test]
fn every_instance_has_an_owner() {
    let unknown = Flaw::OwnerUnknown { instance: instance(2), host: host(7) };
    assert_eq!(flaws(&Rig::green(), with_instance(2, |row| row.owner = host(7))), [unknown]);
}

#[test]
fn a_device_belongs_to_one_host() {
    let rig = Rig::green();
    let first = rig.state.host(&host(1)).unwrap().enrolment.clone();
    let shared = Flaw::DeviceShared { address: "127.0.0.1:0".into(), hosts: (host(1), host(2)) };
    assert_eq!(flaws(&rig, with_host(2, |row| row.enrolment = first.clone())), [shared]);
    let twice = with_host(2, |row| {
        let levels = &mut row.enrolment.as_mut().unwrap().levels;
        levels.push(levels[0].clone());
    });
    assert_eq!(flaws(&rig, twice), [], "one device may stand in two levels of its host");
}

#[test]
fn a_controllers_id_was_given_out() {
    let rig = Rig::green();
    let joined = |id| Controller { id: ControllerId(id), address: "127.0.0.1:9".into(), joined_at: LogIndex(1) };
    let flaws = |id| {
        let mut records = rig.state.records();
        records.push(Record::Controller(joined(id)));
        State::from_records(records).check()
    };
    assert_eq!(flaws(1), []);
    assert_eq!(flaws(2), [Flaw::ControllerUnallocated { controller: ControllerId(2) }]);
}

#[test]
fn a_row_is_named_by_its_kind_and_its_own_name() {
    let mut rig = Rig::green();
    rig.fence(2);
    let names: std::collections::BTreeSet<RecordKey> = rig.state.records().iter().map(Record::key).collect();
    assert_eq!(names.len(), rig.state.records().len(), "no two rows have one name");
}
