//! Is the state consistent with itself? Empty is the only good answer.

use std::collections::BTreeMap;

use super::{HostState, RecoveryStage, Stage, State};
use crate::{ControllerId, HostId, InstanceId, Token};

/// One way in which a state contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// A host's state names a fence that does not exist or is another host's.
    FenceMissing { host: HostId, token: Token },
    /// A host is fenced without a proof, or still fencing with one (promise S2).
    ProofMissing { host: HostId, token: Token },
    /// A recovery rests on a fence that is not proven (promise S2).
    RecoveryWithoutProof { instance: InstanceId, fence: Token },
    /// An assignment is not younger than the fence it rests on (promise S3).
    TokenOrder { instance: InstanceId, fence: Token, assignment: Token },
    /// An assignment points at a host that is fenced or unknown (promise S1).
    AssignedToFenced { instance: InstanceId, host: HostId },
    /// An instance's owner is not known.
    OwnerUnknown { instance: InstanceId, host: HostId },
    /// A protected instance of a fenced host has no recovery (promise L2).
    Forgotten { instance: InstanceId, host: HostId },
    /// A vote of a controller that is no voter counts.
    StrangeVote { host: HostId, controller: ControllerId },
    /// It is the turn of a controller that is no voter to carry out a fence, or anybody's turn at one that is proven.
    StrangeExecutor { token: Token, controller: ControllerId },
    /// One device is enrolled for two hosts.
    DeviceShared { address: String, hosts: (HostId, HostId) },
    /// A controller has an id that was never given out.
    ControllerUnallocated { controller: ControllerId },
}

pub(super) fn check(state: &State) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    check_hosts(state, &mut flaws);
    check_fences(state, &mut flaws);
    check_instances(state, &mut flaws);
    check_devices(state, &mut flaws);
    if let Some(cluster) = state.cluster() {
        let beyond = state.controllers.values().filter(|row| row.id > cluster.last_controller);
        flaws.extend(beyond.map(|row| Flaw::ControllerUnallocated { controller: row.id }));
    }
    flaws
}

fn check_hosts(state: &State, flaws: &mut Vec<Flaw>) {
    for host in state.hosts.values() {
        let (token, must_be_proven) = match host.state {
            HostState::Fencing { token } => (Some(token), false),
            HostState::Fenced { token } => (Some(token), true),
            HostState::New | HostState::Up { .. } | HostState::Lost { .. } => (None, false),
        };
        if let Some(token) = token {
            match state.fences.get(&token).filter(|fence| fence.host == host.id) {
                None => flaws.push(Flaw::FenceMissing { host: host.id.clone(), token }),
                Some(fence) if matches!(fence.stage, Stage::Proven { .. }) != must_be_proven => {
                    flaws.push(Flaw::ProofMissing { host: host.id.clone(), token });
                }
                Some(_) => {}
            }
        }
        let strange =
            |controller: &&ControllerId| state.cluster().is_none_or(|cluster| !cluster.voters.contains(controller));
        for controller in host.votes.keys().filter(strange) {
            flaws.push(Flaw::StrangeVote { host: host.id.clone(), controller: *controller });
        }
    }
}

fn check_fences(state: &State, flaws: &mut Vec<Flaw>) {
    let is_voter = |controller| state.cluster().is_some_and(|cluster| cluster.voters.contains(&controller));
    for fence in state.fences.values() {
        let is_open = !matches!(fence.stage, Stage::Proven { .. });
        if let Some(controller) = fence.executor.filter(|controller| !is_open || !is_voter(*controller)) {
            flaws.push(Flaw::StrangeExecutor { token: fence.token, controller });
        }
    }
}

fn check_instances(state: &State, flaws: &mut Vec<Flaw>) {
    for row in state.instances.values() {
        let Some(owner) = state.hosts.get(&row.owner) else {
            flaws.push(Flaw::OwnerUnknown { instance: row.id, host: row.owner.clone() });
            continue;
        };
        let Some(recovery) = &row.recovery else {
            let fenced = matches!(owner.state, HostState::Fenced { .. });
            if fenced && row.ha_enabled && row.state.dies_with_its_owner() {
                flaws.push(Flaw::Forgotten { instance: row.id, host: row.owner.clone() });
            }
            continue;
        };
        let proven = state.fences.get(&recovery.fence).is_some_and(|fence| matches!(fence.stage, Stage::Proven { .. }));
        if !proven {
            flaws.push(Flaw::RecoveryWithoutProof { instance: row.id, fence: recovery.fence });
        }
        let RecoveryStage::Assigned(assignment) = &recovery.stage else { continue };
        if assignment.token <= recovery.fence {
            let (fence, assignment) = (recovery.fence, assignment.token);
            flaws.push(Flaw::TokenOrder { instance: row.id, fence, assignment });
        }
        let target = state.hosts.get(&assignment.host);
        if target.is_none_or(|host| matches!(host.state, HostState::Fenced { .. })) {
            flaws.push(Flaw::AssignedToFenced { instance: row.id, host: assignment.host.clone() });
        }
    }
}

fn check_devices(state: &State, flaws: &mut Vec<Flaw>) {
    let mut seen: BTreeMap<&str, &HostId> = BTreeMap::new();
    for host in state.hosts.values() {
        let levels = host.enrolment.iter().flat_map(|enrolment| &enrolment.levels);
        for device in levels.flat_map(|level| &level.devices) {
            if let Some(other) = seen.insert(&device.address, &host.id)
                && *other != host.id
            {
                flaws.push(Flaw::DeviceShared {
                    address: device.address.clone(),
                    hosts: (other.clone(), host.id.clone()),
                });
            }
        }
    }
}
