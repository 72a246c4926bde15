//! The cluster's own record, its controllers and its join tokens.

use std::collections::BTreeSet;

use quorumfence_machine::{Cluster, ClusterId, ClusterTime, Controller, ControllerId, JoinToken, Joiner, LogIndex};

use super::{Error, fixed, missing, name, number, plain_enum, required, sorted, uuid};
use crate::pb;

plain_enum!(Role { Controller, Agent });

impl From<Cluster> for pb::ClusterRecord {
    fn from(cluster: Cluster) -> Self {
        Self {
            id: cluster.id.0.into(),
            name: cluster.name,
            armed: cluster.armed,
            armed_reason: cluster.armed_reason,
            storm: cluster.storm.map(|at| at.0),
            decided_ms: cluster.decided.into_iter().map(|at| at.0).collect(),
            settings: Some(cluster.settings.into()),
            clock_ms: cluster.clock.0,
            voters: cluster.voters.into_iter().map(|id| id.0).collect(),
            last_controller: cluster.last_controller.0,
            applied: cluster.applied.0,
        }
    }
}

impl TryFrom<pb::ClusterRecord> for Cluster {
    type Error = Error;
    fn try_from(message: pb::ClusterRecord) -> Result<Self, Error> {
        let voters = sorted(message.voters, "voters")?;
        Ok(Self {
            id: ClusterId(uuid(message.id, "id")?),
            name: message.name,
            armed: message.armed,
            armed_reason: message.armed_reason,
            storm: message.storm.map(LogIndex),
            decided: message.decided_ms.into_iter().map(ClusterTime).collect(),
            settings: required(message.settings, "settings")?,
            clock: ClusterTime(message.clock_ms),
            voters: voters.into_iter().map(ControllerId).collect::<BTreeSet<_>>(),
            last_controller: ControllerId(message.last_controller),
            applied: LogIndex(message.applied),
        })
    }
}

impl From<Controller> for pb::Controller {
    fn from(controller: Controller) -> Self {
        let Controller { id, address, joined_at } = controller;
        Self { id: id.0, address, joined_at: joined_at.0 }
    }
}

impl From<pb::Controller> for Controller {
    fn from(message: pb::Controller) -> Self {
        let pb::Controller { id, address, joined_at } = message;
        Self { id: ControllerId(id), address, joined_at: LogIndex(joined_at) }
    }
}

impl From<JoinToken> for pb::JoinToken {
    fn from(token: JoinToken) -> Self {
        let JoinToken { id, secret_hash, role, ends, uses_left } = token;
        Self {
            id: id.into(),
            secret_hash: secret_hash.into(),
            role: pb::Role::from(role).into(),
            ends_ms: ends.0,
            uses_left,
        }
    }
}

impl TryFrom<pb::JoinToken> for JoinToken {
    type Error = Error;
    fn try_from(message: pb::JoinToken) -> Result<Self, Error> {
        let pb::JoinToken { id, secret_hash, role, ends_ms, uses_left } = message;
        Ok(Self {
            id: name(id, "id")?,
            secret_hash: fixed(secret_hash, "secret_hash")?,
            role: number::<pb::Role, _>(role, "role")?,
            ends: ClusterTime(ends_ms),
            uses_left,
        })
    }
}

impl From<Joiner> for pb::Joiner {
    fn from(joiner: Joiner) -> Self {
        use pb::joiner::Kind;
        let kind = match joiner {
            Joiner::Controller { address } => Kind::Controller(address),
            Joiner::Agent { host } => Kind::Agent(host.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Joiner> for Joiner {
    type Error = Error;
    fn try_from(message: pb::Joiner) -> Result<Self, Error> {
        use pb::joiner::Kind;
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::Controller(address) => Self::Controller { address },
            Kind::Agent(host) => Self::Agent { host: name(host, "agent")? },
        })
    }
}
