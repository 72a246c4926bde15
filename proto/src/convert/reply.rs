//! What a proposer is told.

use quorumfence_machine::{ControllerId, InstanceId, LogIndex, Rejected, Reply, Token};

use super::{Error, missing, name, required, uuid};
use crate::pb;

impl From<Reply> for pb::Reply {
    fn from(reply: Reply) -> Self {
        use pb::reply::Kind;
        let kind = match reply {
            Reply::Done => Kind::Done(pb::Unit {}),
            Reply::Controller(id) => Kind::Controller(id.0),
            Reply::Fence(token) => Kind::Fence(token.0.0),
            Reply::Permit(at) => Kind::Permit(at.0),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Reply> for Reply {
    type Error = Error;
    fn try_from(message: pb::Reply) -> Result<Self, Error> {
        use pb::reply::Kind;
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::Done(pb::Unit {}) => Self::Done,
            Kind::Controller(id) => Self::Controller(ControllerId(id)),
            Kind::Fence(token) => Self::Fence(Token(LogIndex(token))),
            Kind::Permit(at) => Self::Permit(LogIndex(at)),
        })
    }
}

impl From<Rejected> for pb::Rejected {
    fn from(rejected: Rejected) -> Self {
        use pb::rejected::{DeviceOfHost, Kind};
        let kind = match rejected {
            Rejected::ClusterExists => Kind::ClusterExists(pb::Unit {}),
            Rejected::NoCluster => Kind::NoCluster(pb::Unit {}),
            Rejected::UnknownHost(host) => Kind::UnknownHost(host.into()),
            Rejected::UnknownSegment(segment) => Kind::UnknownSegment(segment.into()),
            Rejected::SegmentExists(segment) => Kind::SegmentExists(segment.into()),
            Rejected::Invalid(words) => Kind::Invalid(words),
            Rejected::JoinToken(id) => Kind::JoinToken(id.into()),
            Rejected::JoinTokenExists(id) => Kind::JoinTokenExists(id.into()),
            Rejected::HostTaken(host) => Kind::HostTaken(host.into()),
            Rejected::DeviceTaken { address, host } => Kind::DeviceTaken(DeviceOfHost { address, host: host.into() }),
            Rejected::WrongMachine { address, host } => Kind::WrongMachine(DeviceOfHost { address, host: host.into() }),
            Rejected::HostLives(host) => Kind::HostLives(host.into()),
            Rejected::NotAVoter(id) => Kind::NotAVoter(id.0),
            Rejected::NoParent(at) => Kind::NoParent(at.0),
            Rejected::Held(reason) => Kind::Held(reason.into()),
            Rejected::WrongBoot(host) => Kind::WrongBoot(host.into()),
            Rejected::NoAssignment(instance) => Kind::NoAssignment(instance.0.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Rejected> for Rejected {
    type Error = Error;
    fn try_from(message: pb::Rejected) -> Result<Self, Error> {
        use pb::rejected::{DeviceOfHost, Kind};
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::ClusterExists(pb::Unit {}) => Self::ClusterExists,
            Kind::NoCluster(pb::Unit {}) => Self::NoCluster,
            Kind::UnknownHost(host) => Self::UnknownHost(name(host, "unknown_host")?),
            Kind::UnknownSegment(segment) => Self::UnknownSegment(name(segment, "unknown_segment")?),
            Kind::SegmentExists(segment) => Self::SegmentExists(name(segment, "segment_exists")?),
            Kind::Invalid(words) => Self::Invalid(words),
            Kind::JoinToken(id) => Self::JoinToken(name(id, "join_token")?),
            Kind::JoinTokenExists(id) => Self::JoinTokenExists(name(id, "join_token_exists")?),
            Kind::HostTaken(host) => Self::HostTaken(name(host, "host_taken")?),
            Kind::DeviceTaken(DeviceOfHost { address, host }) => {
                Self::DeviceTaken { address, host: name(host, "device_taken.host")? }
            }
            Kind::WrongMachine(DeviceOfHost { address, host }) => {
                Self::WrongMachine { address, host: name(host, "wrong_machine.host")? }
            }
            Kind::HostLives(host) => Self::HostLives(name(host, "host_lives")?),
            Kind::NotAVoter(id) => Self::NotAVoter(ControllerId(id)),
            Kind::NoParent(at) => Self::NoParent(LogIndex(at)),
            Kind::Held(reason) => Self::Held(required(Some(reason), "held")?),
            Kind::WrongBoot(host) => Self::WrongBoot(name(host, "wrong_boot")?),
            Kind::NoAssignment(instance) => Self::NoAssignment(InstanceId(uuid(instance, "no_assignment")?)),
        })
    }
}

impl From<Result<Reply, Rejected>> for pb::Answered {
    fn from(reply: Result<Reply, Rejected>) -> Self {
        use pb::answered::Kind;
        let kind = match reply {
            Ok(reply) => Kind::Accepted(reply.into()),
            Err(rejected) => Kind::Rejected(rejected.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Answered> for Result<Reply, Rejected> {
    type Error = Error;
    fn try_from(message: pb::Answered) -> Result<Self, Error> {
        use pb::answered::Kind;
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::Accepted(reply) => Ok(required(Some(reply), "accepted")?),
            Kind::Rejected(rejected) => Err(required(Some(rejected), "rejected")?),
        })
    }
}
