//! Reasons for holding back.

use quorumfence_machine::{LogIndex, Reason, Token};

use super::{Error, byte, missing, name, required};
use crate::pb;
use crate::pb::reason::{FencesInFlight, Kind, MinimumHealthy, Parked, WaitsForCopies, WaitsForHeartbeats};

impl From<Reason> for pb::Reason {
    fn from(reason: Reason) -> Self {
        let kind = match reason {
            Reason::Disarmed => Kind::Disarmed(pb::Unit {}),
            Reason::Maintenance => Kind::Maintenance(pb::Unit {}),
            Reason::NotEnrolled => Kind::NotEnrolled(pb::Unit {}),
            Reason::NoFencingLevel => Kind::NoFencingLevel(pb::Unit {}),
            Reason::FencesInFlight { in_flight, max } => Kind::FencesInFlight(FencesInFlight { in_flight, max }),
            Reason::StormBrake => Kind::StormBrake(pb::Unit {}),
            Reason::MinimumHealthy { healthy, hosts, percent } => {
                Kind::MinimumHealthy(MinimumHealthy { healthy, hosts, percent: percent.into() })
            }
            Reason::WaitsForNewBoot => Kind::WaitsForNewBoot(pb::Unit {}),
            Reason::WaitsForPermits => Kind::WaitsForPermits(pb::Unit {}),
            Reason::WaitsForInstances { left } => Kind::WaitsForInstances(left),
            Reason::WaitsForHeartbeats { heard, needed } => {
                Kind::WaitsForHeartbeats(WaitsForHeartbeats { heard, needed })
            }
            Reason::NeedsHuman { token } => Kind::NeedsHuman(token.0.0),
            Reason::ProofNotEnough { proof } => Kind::ProofNotEnough(proof.into()),
            Reason::WaitsForCopies { instances, host } => {
                Kind::WaitsForCopies(WaitsForCopies { instances, host: host.to_string() })
            }
            Reason::NobodyCanTell { host } => Kind::NobodyCanTell(host.to_string()),
            Reason::Parked { instances, why } => Kind::Parked(Parked { instances, why: Some(why.into()) }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Reason> for Reason {
    type Error = Error;
    fn try_from(message: pb::Reason) -> Result<Self, Error> {
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::Disarmed(pb::Unit {}) => Self::Disarmed,
            Kind::Maintenance(pb::Unit {}) => Self::Maintenance,
            Kind::NotEnrolled(pb::Unit {}) => Self::NotEnrolled,
            Kind::NoFencingLevel(pb::Unit {}) => Self::NoFencingLevel,
            Kind::FencesInFlight(FencesInFlight { in_flight, max }) => Self::FencesInFlight { in_flight, max },
            Kind::StormBrake(pb::Unit {}) => Self::StormBrake,
            Kind::MinimumHealthy(MinimumHealthy { healthy, hosts, percent }) => {
                Self::MinimumHealthy { healthy, hosts, percent: byte(percent, "minimum_healthy.percent")? }
            }
            Kind::WaitsForNewBoot(pb::Unit {}) => Self::WaitsForNewBoot,
            Kind::WaitsForPermits(pb::Unit {}) => Self::WaitsForPermits,
            Kind::WaitsForInstances(left) => Self::WaitsForInstances { left },
            Kind::WaitsForHeartbeats(WaitsForHeartbeats { heard, needed }) => {
                Self::WaitsForHeartbeats { heard, needed }
            }
            Kind::NeedsHuman(token) => Self::NeedsHuman { token: Token(LogIndex(token)) },
            Kind::ProofNotEnough(proof) => Self::ProofNotEnough { proof: required(Some(proof), "proof_not_enough")? },
            Kind::WaitsForCopies(WaitsForCopies { instances, host }) => {
                Self::WaitsForCopies { instances, host: name(host, "waits_for_copies.host")? }
            }
            Kind::NobodyCanTell(host) => Self::NobodyCanTell { host: name(host, "nobody_can_tell")? },
            Kind::Parked(Parked { instances, why }) => Self::Parked { instances, why: required(why, "parked.why")? },
        })
    }
}
