//! The machine with one guard taken away: `State::apply`, and around it what the guard would have prevented.
//!
//! The machine itself is not changed. Rows are taken out of a state, edited, and put back.

use quorumfence_machine::{
    Applied, BootId, Change, Command, Event, HostId, HostState, LogIndex, Reason, Record, Recovery, RecoveryStage,
    Rejected, Stage, State, Verdict,
};

use super::guard::Guard;
use super::world::INSTANCE;

/// Applies a command without one guard.
pub(super) fn apply(without: Guard, state: &mut State, at: LogIndex, command: &Command) -> Applied {
    match without {
        Guard::ResultOfItsFence => result_of_any_fence(state, at, command),
        Guard::AdmissionWaits => admission_at_once(state, at, command),
        Guard::SuspicionEndsNothing => suspicion_ends_assignments(state, at, command),
        Guard::OneAssignment => assigned_again(state, at, command),
        Guard::TargetFenceEndsIt => assignment_outlives_its_target(state, at, command),
        Guard::TotalLossHasAPath => instances_keep_their_host_away(state, at, command),
        Guard::RebootIsAFailure => reboot_is_overlooked(state, at, command),
        // These are guards of executors, agents and hosts.
        Guard::TimeoutIsNoProof
        | Guard::AcceptedIsNotOff
        | Guard::PermitBeforeOff
        | Guard::PermitFromTheLog
        | Guard::NoAutostart
        | Guard::StartNamesItsBoot
        | Guard::RefusalIsFinal
        | Guard::RefusalOutlivesAgent => state.apply(at, command),
    }
}

/// Returns the state that a leader decides on. It asks the same guard of admission as the machine does.
pub(super) fn as_the_leader_sees_it(without: Option<Guard>, state: &State) -> State {
    let mut state = state.clone();
    if without == Some(Guard::AdmissionWaits) {
        edit(&mut state, |record| {
            if let Record::Fence(fence) = record {
                fence.permits.clear();
            }
        });
    }
    state
}

/// A result that came too late for its own fence counts for the one that its host is in now.
fn result_of_any_fence(state: &mut State, at: LogIndex, command: &Command) -> Applied {
    let Change::FenceResult { token, outcomes, .. } = &command.change else { return state.apply(at, command) };
    let host = state.fence(token).map(|fence| fence.host.clone());
    let open = state.fences().filter(|fence| Some(&fence.host) == host.as_ref());
    let open = open.filter(|fence| !matches!(fence.stage, Stage::Proven { .. })).last();
    let current = open.and_then(|fence| Some((fence.token, fence.permits.iter().rfind(|permit| !permit.ended)?.at)));
    let Some((token, permit)) = current else { return state.apply(at, command) };
    let change = Change::FenceResult { token, permit, outcomes: outcomes.clone() };
    state.apply(at, &Command { change, ..command.clone() })
}

fn admission_at_once(state: &mut State, at: LogIndex, command: &Command) -> Applied {
    let Change::HostAdmit { .. } = &command.change else { return state.apply(at, command) };
    let permits: Vec<_> = state.fences().map(|fence| (fence.token, fence.permits.clone())).collect();
    edit(state, |record| {
        if let Record::Fence(fence) = record {
            fence.permits.clear();
        }
    });
    let applied = state.apply(at, command);
    edit(state, |record| {
        if let Record::Fence(fence) = record {
            fence.permits = permits.iter().find(|(token, _)| *token == fence.token).expect("it was there").1.clone();
        }
    });
    applied
}

fn suspicion_ends_assignments(state: &mut State, at: LogIndex, command: &Command) -> Applied {
    let applied = state.apply(at, command);
    let target = state.instance(&INSTANCE).and_then(|row| Some(row.assignment()?.host.clone()));
    let is_lost = target.and_then(|host| state.host(&host)).is_some_and(|host| match host.state {
        HostState::Lost { .. } | HostState::Fencing { .. } => true,
        HostState::New | HostState::Up { .. } | HostState::Fenced { .. } => false,
    });
    if is_lost {
        set_recovery(state, |recovery| recovery.stage = RecoveryStage::Waiting);
    }
    applied
}

fn assigned_again(state: &mut State, at: LogIndex, command: &Command) -> Applied {
    if let Change::RecoveryPlan { .. } = &command.change {
        set_recovery(state, |recovery| {
            if let RecoveryStage::Assigned(_) = recovery.stage {
                recovery.stage = RecoveryStage::Waiting;
            }
        });
    }
    state.apply(at, command)
}

fn assignment_outlives_its_target(state: &mut State, at: LogIndex, command: &Command) -> Applied {
    let before = state.instance(&INSTANCE).filter(|row| row.assignment().is_some());
    let before = before.and_then(|row| row.recovery.clone());
    let applied = state.apply(at, command);
    let was_fenced = applied.events.iter().any(|event| matches!(event, Event::HostFenced { .. }));
    if let (true, Some(before)) = (was_fenced, before) {
        set_recovery(state, |recovery| *recovery = before.clone());
    }
    applied
}

fn instances_keep_their_host_away(state: &mut State, at: LogIndex, command: &Command) -> Applied {
    if let Change::HostAdmit { host, .. } = &command.change
        && state.instance(&INSTANCE).is_some_and(|row| row.owner == *host && row.recovery.is_some())
    {
        let reply = Err(Rejected::Held(Reason::WaitsForInstances { left: 1 }));
        return Applied { reply, events: Vec::new() };
    }
    state.apply(at, command)
}

fn reboot_is_overlooked(state: &mut State, at: LogIndex, command: &Command) -> Applied {
    let mut command = command.clone();
    let admitted = |state: &State, host: &HostId| -> Option<BootId> { state.host(host)?.up_boot() };
    if let Change::AgentReport { host, report } = &mut command.change {
        report.boot = admitted(state, host).unwrap_or(report.boot);
    } else if let Change::Votes { votes, .. } = &mut command.change {
        for vote in votes {
            if let (Verdict::Alive { .. }, Some(boot)) = (vote.verdict, admitted(state, &vote.host)) {
                vote.verdict = Verdict::Alive { boot };
            }
        }
    }
    state.apply(at, &command)
}

fn set_recovery(state: &mut State, change: impl Fn(&mut Recovery)) {
    edit(state, |record| {
        if let Record::Instance(row) = record
            && let Some(recovery) = &mut row.recovery
        {
            change(recovery);
        }
    });
}

fn edit(state: &mut State, change: impl Fn(&mut Record)) {
    let mut records = state.records();
    records.iter_mut().for_each(change);
    *state = State::from_records(records);
}
