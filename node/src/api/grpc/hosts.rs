//! Hosts, with what this controller knows beyond the log.

use std::sync::Arc;

use quorumfence_machine::{Host, HostId, Instance, Report, State};
use quorumfence_proto::pb;
use tonic::Status;

use super::super::Node;
use crate::controller::Glimpse;
use crate::environment::Environment;

pub(super) fn list<E: Environment>(node: &Node<E>) -> Vec<pb::HostReport> {
    let report = reasons(node);
    let mut sights = node.controller.sights();
    let hosts: Vec<Host> = node.controller.replica().read(|state| state.hosts().cloned().collect());
    let reports = hosts.into_iter().map(|host| {
        let sight = sights.remove(&host.id).unwrap_or_default();
        host_report(host, &sight, &report)
    });
    reports.collect()
}

pub(super) fn show<E: Environment>(node: &Node<E>, id: &HostId) -> Result<pb::HostShowReply, Status> {
    let found = node.controller.replica().read(|state| {
        let host = state.host(id)?.clone();
        let fence = host.fence().and_then(|token| state.fence(&token)).cloned();
        let instances = state.instances().filter(|instance| instance.owner == *id).map(owned).collect();
        Some((host, fence, instances))
    });
    let (host, fence, instances) = found.ok_or_else(|| unknown(id))?;
    Ok(pb::HostShowReply { host: Some(report(node, host)), fence: fence.map(Into::into), instances })
}

/// Returns a host with its reasons and what this controller sees of it.
pub(super) fn report<E: Environment>(node: &Node<E>, host: Host) -> pb::HostReport {
    let sight = node.controller.sight(&host.id);
    host_report(host, &sight, &reasons(node))
}

/// Returns the host, or that it is not known.
pub(super) fn known<'a>(state: &'a State, id: &HostId) -> Result<&'a Host, Status> {
    state.host(id).ok_or_else(|| unknown(id))
}

fn unknown(id: &HostId) -> Status {
    quorumfence_proto::status::rejected(&quorumfence_machine::Rejected::UnknownHost(id.clone()))
}

fn reasons<E: Environment>(node: &Node<E>) -> Arc<Report> {
    Arc::clone(&node.controller.report().borrow())
}

fn host_report(host: Host, sight: &Glimpse, report: &Report) -> pb::HostReport {
    let reasons = report.hosts.get(&host.id).cloned().unwrap_or_default();
    pb::HostReport {
        host: Some(host.into()),
        reasons: reasons.into_iter().map(Into::into).collect(),
        heartbeat_age_ms: sight.heartbeat_age.map(|age| age.0),
        lease_left_ms: sight.lease_left.map(|left| left.0),
        attending: sight.attending,
        laboratory: sight.laboratory,
        readiness: sight.readiness.as_ref().map(|readiness| pb::Readiness {
            at_ms: readiness.at.0,
            fenceable_at_ms: readiness.fenceable_at.map(|at| at.0),
        }),
    }
}

fn owned(instance: &Instance) -> pb::OwnedInstance {
    pb::OwnedInstance {
        id: instance.id.0.to_vec(),
        name: instance.name.clone(),
        state: pb::InstanceState::from(instance.state).into(),
        ha_enabled: instance.ha_enabled,
        recovery: instance.recovery.clone().map(Into::into),
    }
}
