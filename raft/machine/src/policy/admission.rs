//! Which hosts may run instances again.

use super::report::{Decision, Reason};
use crate::{Change, ClusterTime, Host, HostState, Millis, State, View};

pub(super) fn decide(
    state: &State,
    host: &Host,
    view: &View,
    now: Millis,
    clock: ClusterTime,
    decision: &mut Decision,
) {
    match host.state {
        HostState::New | HostState::Fenced { .. } => {}
        HostState::Up { .. } | HostState::Lost { .. } | HostState::Fencing { .. } => return,
    }
    let Some(boot) = host.agent.as_ref().map(|agent| agent.boot) else {
        if matches!(host.state, HostState::Fenced { .. }) {
            decision.report.note(&host.id, Reason::WaitsForNewBoot);
        }
        return;
    };
    let mut waits = crate::state::admission_waits_for(state, host, clock);
    let fresh = view
        .hosts
        .get(&host.id)
        .and_then(|sight| sight.heartbeat)
        .is_some_and(|beat| beat.boot == boot && now - beat.at <= state.settings().suspect_after);
    if waits.is_empty() && !fresh {
        waits.push(Reason::WaitsForNewBoot);
    }
    if waits.is_empty() {
        decision.propose(Change::HostAdmit { host: host.id.clone(), boot });
    }
    for reason in waits {
        decision.report.note(&host.id, reason);
    }
}
