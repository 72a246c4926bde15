//! Which hosts may run instances again.

use super::report::{Decision, Reason};
use crate::{Change, ClusterTime, Host, HostState, Millis, State, View};

/// What a leader last heard of a host counts for so long. A majority hears the host, and who has heard nothing for longer
/// has lost its own line to it.
const LAST_WORD: Millis = Millis(10_000);

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
    let last_beat = view.hosts.get(&host.id).and_then(|sight| sight.heartbeat);
    let contradicts = last_beat.is_some_and(|beat| {
        let age = now - beat.at;
        age <= LAST_WORD && (beat.boot != boot || age > state.settings().suspect_after)
    });
    if waits.is_empty() && contradicts {
        waits.push(Reason::WaitsForNewBoot);
    }
    if waits.is_empty() {
        decision.propose(Change::HostAdmit { host: host.id.clone(), boot });
    }
    for reason in waits {
        decision.report.note(&host.id, reason);
    }
}
