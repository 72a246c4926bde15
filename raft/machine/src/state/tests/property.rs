//! Whatever the log says: no panic, a consistent state, work that does not depend on when it is asked for, and equal
//! digests for equal logs.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::rig::{Rig, boot, host, instance};
use crate::{
    Actor, AgentReport, Change, ClusterTime, Command, ControllerId, Destination, Doubt, Evidence, HostState,
    InstanceReport, InstanceState, LogIndex, Millis, Move, OffSeen, Outcome, Parking, Refusal, State, Token, Verdict,
    Vote, WallMillis,
};

/// A step names things by small numbers, so that random steps often fit together; tokens and indexes are looked up in
/// the state when the step is taken, with an offset that is wrong now and then.
#[derive(Debug, Clone)]
enum Step {
    Vote(u64, u8, u8),
    Report(u8, u8, Vec<u8>),
    Decide(u8, u64),
    Permit(u8, u64),
    Result(u8, u8),
    NewBoot(u8),
    ConfirmDead(u8),
    Admit(u8),
    Plan(u8, u8, u8),
    Started(u8, u8),
    Maintenance(u8, bool),
    Arm(bool),
    Enrol(u8, u8),
    Voters(u8),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let (h, b) = (1..=4_u8, 0..3_u8);
    prop_oneof![
        6 => (1..=4_u64, h.clone(), 0..4_u8).prop_map(|(c, h, v)| Step::Vote(c, h, v)),
        3 => (h.clone(), b.clone(), vec(1..=5_u8, 0..3)).prop_map(|(h, b, i)| Step::Report(h, b, i)),
        4 => (h.clone(), 0..5_u64).prop_map(|(h, o)| Step::Decide(h, o)),
        3 => (h.clone(), 1..=4_u64).prop_map(|(h, c)| Step::Permit(h, c)),
        3 => (h.clone(), 0..4_u8).prop_map(|(h, o)| Step::Result(h, o)),
        1 => h.clone().prop_map(Step::NewBoot),
        1 => h.clone().prop_map(Step::ConfirmDead),
        3 => h.clone().prop_map(Step::Admit),
        4 => (1..=5_u8, h.clone(), 0..3_u8).prop_map(|(i, h, o)| Step::Plan(i, h, o)),
        4 => (1..=5_u8, 0..4_u8).prop_map(|(i, o)| Step::Started(i, o)),
        1 => (h.clone(), any::<bool>()).prop_map(|(h, on)| Step::Maintenance(h, on)),
        1 => (0..4_u8).prop_map(|n| Step::Arm(n > 0)),
        1 => (h.clone(), 0..3_u8).prop_map(|(h, l)| Step::Enrol(h, l)),
        1 => (1..16_u8).prop_map(Step::Voters),
        2 => (0..40_000_u64).prop_map(Step::Wait),
    ]
}

/// The boot that host `number` has in its `n`th life.
fn life(number: u8, n: u8) -> crate::BootId {
    boot(number + 10 * n)
}

fn change(rig: &Rig, step: &Step) -> Option<Change> {
    let fence = |number: &u8| rig.state.host(&host(*number))?.fence();
    Some(match step {
        Step::Vote(controller, number, verdict) => {
            let verdict = match verdict {
                0 => Verdict::Alive { boot: rig.state.host(&host(*number))?.agent.as_ref()?.boot },
                1 => Verdict::Unreachable,
                2 => Verdict::PoweredOff,
                _ => Verdict::CannotTell(crate::Uncertainty::CutOff),
            };
            let vote = Vote { host: host(*number), verdict, evidence: Evidence::default() };
            Change::Votes { controller: ControllerId(*controller), votes: vec![vote] }
        }
        Step::Report(number, n, running) => {
            Change::AgentReport { host: host(*number), report: report(life(*number, *n), running) }
        }
        Step::Decide(number, offset) => {
            let lost_at = match rig.state.host(&host(*number))?.state {
                HostState::Lost { at, .. } => LogIndex(at.0 + offset / 4),
                _ => LogIndex(*offset),
            };
            Change::FenceDecide { host: host(*number), lost_at }
        }
        Step::Permit(number, executor) => {
            let token = fence(number)?;
            let level = rig.state.fence(&token)?.level;
            Change::PermitGrant { token, executor: ControllerId(*executor), level, life: Millis(1000) }
        }
        Step::Result(number, outcome) => {
            let token = fence(number)?;
            let permit = rig.state.fence(&token)?.permits.last()?.at;
            let outcome = match outcome {
                0 | 1 => Outcome::Observed(OffSeen { reads: 2, sessions: 2, ordered: true }),
                2 => Outcome::Unknown(Doubt::Timeout),
                _ => Outcome::Refused(Refusal::Credentials),
            };
            Change::FenceResult { token, permit, outcomes: vec![outcome] }
        }
        Step::NewBoot(number) => {
            Change::FenceNewBoot { token: fence(number)?, boot: rig.state.host(&host(*number))?.agent.as_ref()?.boot }
        }
        Step::ConfirmDead(number) => Change::HostConfirmDead { host: host(*number), reason: "seen".into(), boot: None },
        Step::Admit(number) => {
            Change::HostAdmit { host: host(*number), boot: rig.state.host(&host(*number))?.agent.as_ref()?.boot }
        }
        Step::Plan(id, number, n) => {
            let token = rig.state.instance(&instance(*id))?.recovery.as_ref()?.fence;
            let to = match n {
                0 => Destination::Parked(Parking::NoRoom),
                _ => Destination::Host { host: host(*number), boot: rig.state.host(&host(*number))?.up_boot()? },
            };
            Change::RecoveryPlan { token, moves: vec![Move { instance: instance(*id), to }] }
        }
        Step::Started(id, outcome) => {
            let token = rig.state.instance(&instance(*id))?.assignment()?.token;
            let outcome = match outcome {
                0 | 1 => Outcome::Observed(InstanceState::Running),
                2 => Outcome::Unknown(Doubt::Timeout),
                _ => Outcome::Refused(Refusal::Hypervisor),
            };
            Change::RecoveryResult { instance: instance(*id), token: Token(LogIndex(token.0.0)), outcome }
        }
        Step::Maintenance(number, on) => {
            Change::HostMaintenance { host: host(*number), reason: on.then(|| "work".into()) }
        }
        Step::Arm(true) => Change::Arm { reason: "go".into() },
        Step::Arm(false) => Change::Disarm { reason: "stop".into() },
        Step::Enrol(number, levels) => rig.enrolment(*number, *levels),
        Step::Voters(_) | Step::Wait(_) => return None,
    })
}

fn report(boot: crate::BootId, running: &[u8]) -> AgentReport {
    let ids: BTreeSet<u8> = running.iter().copied().collect();
    let row = |id: &u8| InstanceReport {
        id: instance(*id),
        name: format!("vm{id}"),
        state: InstanceState::Running,
        ha_enabled: *id != 5,
        priority: u16::from(*id),
        memory_mib: 64,
        definition: String::new(),
    };
    AgentReport {
        boot,
        system_uuid: None,
        memory_mib: 1024,
        instances: ids.iter().map(row).collect(),
        cannot_refuse: false,
        listed: Millis(0),
        as_of: None,
    }
}

fn take(rig: &mut Rig, step: &Step) {
    rig.index += 1;
    match (step, change(rig, step)) {
        (Step::Wait(millis), _) => rig.clock += millis,
        (Step::Voters(mask), _) => {
            let voters = (1..=4).filter(|id| mask >> (id - 1) & 1 == 1).map(ControllerId).collect();
            rig.state.apply_voters(LogIndex(rig.index), &voters);
        }
        (_, Some(change)) => {
            let command = Command {
                by: Actor::Operator("ada".into()),
                wall: WallMillis(0),
                clock: ClusterTime(rig.clock),
                request: None,
                change,
            };
            rig.state.apply(LogIndex(rig.index), &command);
        }
        (_, None) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_log_leaves_a_consistent_state(steps in vec(step(), 1..120)) {
        let (mut rig, mut twin) = (Rig::green(), Rig::green());
        for step in &steps {
            take(&mut rig, step);
            take(&mut twin, step);
            prop_assert_eq!(rig.state.check(), Vec::new(), "after {:?}", step);
            prop_assert_eq!(rig.state.work(), rig.state.work());
            prop_assert_eq!(rig.state.digest(), twin.state.digest());
        }
        let copy = State::from_records(rig.state.records());
        prop_assert_eq!(copy.work(), rig.state.work());
        prop_assert_eq!(copy.digest(), rig.state.digest());
    }
}
