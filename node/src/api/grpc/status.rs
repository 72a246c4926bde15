//! The cluster at a glance.

use quorumfence_machine::{Host, HostState, RecoveryStage, Stage, State};
use quorumfence_proto::pb;

use super::super::Node;
use super::{members, refusal};
use crate::environment::Environment;

pub(super) fn reply<E: Environment>(node: &Node<E>) -> pb::StatusReply {
    let replica = node.controller.replica();
    let raft = replica.status();
    let members = members::list(node);
    replica.read(|state| pb::StatusReply {
        cluster: state.cluster().cloned().map(Into::into),
        controller: raft.id.0,
        leader: raft.leader.as_ref().map(refusal::peer),
        term: raft.term.0,
        // Consensus tells of an entry a moment after the state shows it.
        applied: raft.applied.max(state.cluster().map(|cluster| cluster.applied)).map_or(0, |index| index.0),
        members,
        hosts: Some(counts(state)),
        instances: count(state.instances()),
        fences: state
            .fences()
            .filter(|fence| match fence.stage {
                Stage::Working | Stage::NeedsHuman => true,
                Stage::Proven { .. } => false,
            })
            .cloned()
            .map(Into::into)
            .collect(),
        parked: count(state.instances().filter(|instance| {
            let stage = instance.recovery.as_ref().map(|recovery| &recovery.stage);
            matches!(stage, Some(RecoveryStage::Parked(_)))
        })),
        laboratory: node.laboratory,
        version: env!("CARGO_PKG_VERSION").into(),
        digest: state.digest().to_string(),
        members_changing: raft.changing,
    })
}

fn counts(state: &State) -> pb::HostCounts {
    let mut counts = pb::HostCounts {
        maintenance: count(state.hosts().filter(|host| host.maintenance.is_some())),
        ..Default::default()
    };
    for Host { state, .. } in state.hosts() {
        let counted = match state {
            HostState::New => &mut counts.new,
            HostState::Up { .. } => &mut counts.up,
            HostState::Lost { .. } => &mut counts.lost,
            HostState::Fencing { .. } => &mut counts.fencing,
            HostState::Fenced { .. } => &mut counts.fenced,
        };
        *counted += 1;
    }
    counts
}

fn count<T>(rows: impl Iterator<Item = T>) -> u32 {
    u32::try_from(rows.count()).unwrap_or(u32::MAX)
}
