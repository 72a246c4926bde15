//! Where instances of a fenced host go.

use quorumfence_machine::{BootId, Destination, InstanceId, Move, Parking};

use super::{Error, missing, name, number, required, uuid};
use crate::pb;

impl From<Move> for pb::Move {
    fn from(step: Move) -> Self {
        let Move { instance, to } = step;
        Self { instance: instance.0.into(), to: Some(to.into()) }
    }
}

impl TryFrom<pb::Move> for Move {
    type Error = Error;
    fn try_from(message: pb::Move) -> Result<Self, Error> {
        let pb::Move { instance, to } = message;
        Ok(Self { instance: InstanceId(uuid(instance, "instance")?), to: required(to, "to")? })
    }
}

impl From<Destination> for pb::Destination {
    fn from(destination: Destination) -> Self {
        use pb::destination::{Kind, ToHost};
        let kind = match destination {
            Destination::Host { host, boot } => Kind::Host(ToHost { host: host.into(), boot: boot.0.into() }),
            Destination::Parked(why) => Kind::Parked(why.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Destination> for Destination {
    type Error = Error;
    fn try_from(message: pb::Destination) -> Result<Self, Error> {
        use pb::destination::{Kind, ToHost};
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::Host(ToHost { host, boot }) => {
                Self::Host { host: name(host, "host.host")?, boot: BootId(uuid(boot, "host.boot")?) }
            }
            Kind::Parked(why) => Self::Parked(required(Some(why), "parked")?),
        })
    }
}

impl From<Parking> for pb::Parking {
    fn from(parking: Parking) -> Self {
        use pb::parking::Kind;
        let kind = match parking {
            Parking::NoHost => Kind::NoHost(pb::Unit {}),
            Parking::NoRoom => Kind::NoRoom(pb::Unit {}),
            Parking::Refused(refusal) => Kind::Refused(pb::Refusal::from(refusal).into()),
            Parking::EvacuationDisabled => Kind::EvacuationDisabled(pb::Unit {}),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Parking> for Parking {
    type Error = Error;
    fn try_from(message: pb::Parking) -> Result<Self, Error> {
        use pb::parking::Kind;
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::NoHost(pb::Unit {}) => Self::NoHost,
            Kind::NoRoom(pb::Unit {}) => Self::NoRoom,
            Kind::Refused(refusal) => Self::Refused(number::<pb::Refusal, _>(refusal, "refused")?),
            Kind::EvacuationDisabled(pb::Unit {}) => Self::EvacuationDisabled,
        })
    }
}
