//! Hosts: enrolment, agents' facts, and where a host is between admission and fence.

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{
    AgentFacts, BootId, Device, Enrolment, Host, HostState, InstanceId, Level, LogIndex, Maintenance, Millis,
    SystemUuid, Token,
};

use super::{
    Error, byte, each, list, missing, name, number, optional, optional_uuid, plain_enum, required, sorted, uuid,
};
use crate::pb;

plain_enum!(Driver { Ipmi, Laboratory });

impl From<Enrolment> for pb::Enrolment {
    fn from(enrolment: Enrolment) -> Self {
        let Enrolment { segment, ping, health, levels } = enrolment;
        Self { segment: segment.into(), ping, health, levels: levels.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<pb::Enrolment> for Enrolment {
    type Error = Error;
    fn try_from(message: pb::Enrolment) -> Result<Self, Error> {
        let pb::Enrolment { segment, ping, health, levels } = message;
        Ok(Self { segment: name(segment, "segment")?, ping, health, levels: list(levels, "levels")? })
    }
}

impl From<Level> for pb::Level {
    fn from(level: Level) -> Self {
        Self { devices: level.devices.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<pb::Level> for Level {
    type Error = Error;
    fn try_from(message: pb::Level) -> Result<Self, Error> {
        Ok(Self { devices: list(message.devices, "devices")? })
    }
}

impl From<Device> for pb::Device {
    fn from(device: Device) -> Self {
        let Device { driver, address, user, sealed_password, suite, identity } = device;
        Self {
            driver: pb::Driver::from(driver).into(),
            address,
            user,
            sealed_password,
            suite: suite.map(Into::into),
            identity: identity.map(|identity| identity.0.into()),
        }
    }
}

impl TryFrom<pb::Device> for Device {
    type Error = Error;
    fn try_from(message: pb::Device) -> Result<Self, Error> {
        let pb::Device { driver, address, user, sealed_password, suite, identity } = message;
        Ok(Self {
            driver: number::<pb::Driver, _>(driver, "driver")?,
            address,
            user,
            sealed_password,
            suite: suite.map(|suite| byte(suite, "suite")).transpose()?,
            identity: optional_uuid(identity, "identity")?.map(SystemUuid),
        })
    }
}

impl From<Host> for pb::Host {
    fn from(host: Host) -> Self {
        let Host { id, agent_joined, enrolment, agent, maintenance, state, votes } = host;
        Self {
            id: id.into(),
            agent_joined,
            enrolment: enrolment.map(Into::into),
            agent: agent.map(Into::into),
            maintenance: maintenance.map(Into::into),
            state: Some(state.into()),
            votes: votes.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Host> for Host {
    type Error = Error;
    fn try_from(message: pb::Host) -> Result<Self, Error> {
        let pb::Host { id, agent_joined, enrolment, agent, maintenance, state, votes } = message;
        let voters = votes.iter().map(|vote| vote.controller).collect();
        sorted::<u64>(voters, "votes")?;
        Ok(Self {
            id: name(id, "id")?,
            agent_joined,
            enrolment: optional(enrolment, "enrolment")?,
            agent: optional(agent, "agent")?,
            maintenance: maintenance.map(Into::into),
            state: required(state, "state")?,
            votes: BTreeMap::from_iter(list(votes, "votes")?),
        })
    }
}

impl From<AgentFacts> for pb::AgentFacts {
    fn from(facts: AgentFacts) -> Self {
        let AgentFacts {
            boot, boot_at, system_uuid, memory_mib, cannot_refuse, listed, as_of, list_at, earlier, ..
        } = facts;
        let AgentFacts { running, moving, brought, ran_before, came_before, heard_again_at, .. } = facts;
        let ids = |set: BTreeSet<InstanceId>| set.into_iter().map(|id| id.0.into()).collect();
        Self {
            boot: boot.0.into(),
            boot_at: boot_at.0,
            system_uuid: system_uuid.map(|uuid| uuid.0.into()),
            memory_mib,
            running: ids(running),
            moving: ids(moving),
            brought: ids(brought),
            ran_before: ids(ran_before),
            came_before: ids(came_before),
            cannot_refuse,
            listed_ms: listed.0,
            as_of: as_of.map(|at| at.0),
            list_at: list_at.0,
            heard_again_at: heard_again_at.0,
            earlier: earlier.into_iter().map(|boot| boot.0.into()).collect(),
        }
    }
}

impl TryFrom<pb::AgentFacts> for AgentFacts {
    type Error = Error;
    fn try_from(message: pb::AgentFacts) -> Result<Self, Error> {
        let pb::AgentFacts { boot, boot_at, system_uuid, memory_mib, cannot_refuse, listed_ms, earlier, .. } = message;
        let pb::AgentFacts { running, moving, brought, ran_before, came_before, .. } = message;
        let pb::AgentFacts { as_of, list_at, heard_again_at, .. } = message;
        let ids = |list: Vec<Vec<u8>>, field| {
            let ids = each(list, field, |id| Ok(InstanceId(uuid(id, "")?)))?;
            Ok::<_, Error>(BTreeSet::from_iter(sorted(ids, field)?))
        };
        Ok(Self {
            boot: BootId(uuid(boot, "boot")?),
            boot_at: LogIndex(boot_at),
            system_uuid: optional_uuid(system_uuid, "system_uuid")?.map(SystemUuid),
            memory_mib,
            running: ids(running, "running")?,
            moving: ids(moving, "moving")?,
            brought: ids(brought, "brought")?,
            ran_before: ids(ran_before, "ran_before")?,
            came_before: ids(came_before, "came_before")?,
            cannot_refuse,
            listed: Millis(listed_ms),
            as_of: as_of.map(LogIndex),
            list_at: LogIndex(list_at),
            heard_again_at: LogIndex(heard_again_at),
            earlier: each(earlier, "earlier", |boot| Ok(BootId(uuid(boot, "")?)))?,
        })
    }
}

impl From<Maintenance> for pb::Maintenance {
    fn from(maintenance: Maintenance) -> Self {
        let Maintenance { reason, since } = maintenance;
        Self { reason, since: since.0 }
    }
}

impl From<pb::Maintenance> for Maintenance {
    fn from(message: pb::Maintenance) -> Self {
        let pb::Maintenance { reason, since } = message;
        Self { reason, since: LogIndex(since) }
    }
}

impl From<HostState> for pb::HostState {
    fn from(state: HostState) -> Self {
        use pb::host_state::{Kind, Lost};
        let kind = match state {
            HostState::New => Kind::New(pb::Unit {}),
            HostState::Up { boot } => Kind::Up(boot.0.into()),
            HostState::Lost { boot, at } => Kind::Lost(Lost { boot: boot.0.into(), at: at.0 }),
            HostState::Fencing { token } => Kind::Fencing(token.0.0),
            HostState::Fenced { token } => Kind::Fenced(token.0.0),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::HostState> for HostState {
    type Error = Error;
    fn try_from(message: pb::HostState) -> Result<Self, Error> {
        use pb::host_state::{Kind, Lost};
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::New(pb::Unit {}) => Self::New,
            Kind::Up(boot) => Self::Up { boot: BootId(uuid(boot, "up")?) },
            Kind::Lost(Lost { boot, at }) => Self::Lost { boot: BootId(uuid(boot, "lost.boot")?), at: LogIndex(at) },
            Kind::Fencing(token) => Self::Fencing { token: Token(LogIndex(token)) },
            Kind::Fenced(token) => Self::Fenced { token: Token(LogIndex(token)) },
        })
    }
}
