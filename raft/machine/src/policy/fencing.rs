//! Which lost hosts are fenced, and which fences a new boot has settled.

use super::guard;
use super::report::{Decision, Reason};
use crate::state::unclear_since;
use crate::{Change, Fence, Host, HostState, Proof, ProofClass, Stage, State};

pub(super) fn decide(state: &State, host: &Host, decision: &mut Decision) {
    match host.state {
        HostState::Lost { at, .. } => match guard::holds(state, host) {
            None => decision.propose(Change::FenceDecide { host: host.id.clone(), lost_at: at }),
            Some(reason) => {
                let brake_is_open = state.cluster().is_some_and(|cluster| cluster.storm.is_none());
                if reason == Reason::StormBrake && brake_is_open {
                    decision.propose(Change::FenceDecide { host: host.id.clone(), lost_at: at });
                }
                decision.report.note(&host.id, reason);
            }
        },
        HostState::Fencing { token } => {
            if let Some(fence) = state.fence(&token) {
                look_for_new_boot(state, host, fence, decision);
            }
        }
        HostState::Up { .. } if unclear_since(state, host).is_some() => {
            decision.report.note(&host.id, Reason::NobodyCanTell { host: host.id.clone() });
        }
        HostState::New | HostState::Up { .. } | HostState::Fenced { .. } => {}
    }
}

fn look_for_new_boot(state: &State, host: &Host, fence: &Fence, decision: &mut Decision) {
    let new_boot = host.agent.as_ref().map(|agent| agent.boot).filter(|boot| Some(*boot) != fence.boot);
    if let Some(boot) = new_boot {
        if state.settings().proofs.contains(&ProofClass::NewBootId) {
            decision.propose(Change::FenceNewBoot { token: fence.token, boot });
        } else {
            decision.report.note(&host.id, Reason::ProofNotEnough { proof: Proof::NewBootId { boot } });
        }
        return;
    }
    match fence.stage {
        Stage::NeedsHuman => decision.report.note(&host.id, Reason::NeedsHuman { token: fence.token }),
        Stage::Working | Stage::Proven { .. } => {}
    }
}
