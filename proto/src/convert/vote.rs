//! Votes and the evidence under them.

use quorumfence_machine::{BootId, CastVote, ControllerId, Evidence, LogIndex, Millis, Verdict, Vote};

use super::{Error, missing, name, number, plain_enum, required, uuid};
use crate::pb;

plain_enum!(Uncertainty { CutOff, AgentSilent, NeverSeen });

impl From<Verdict> for pb::Verdict {
    fn from(verdict: Verdict) -> Self {
        use pb::verdict::Kind;
        let kind = match verdict {
            Verdict::Alive { boot } => Kind::Alive(boot.0.into()),
            Verdict::Unreachable => Kind::Unreachable(pb::Unit {}),
            Verdict::PoweredOff => Kind::PoweredOff(pb::Unit {}),
            Verdict::CannotTell(why) => Kind::CannotTell(pb::Uncertainty::from(why).into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Verdict> for Verdict {
    type Error = Error;
    fn try_from(message: pb::Verdict) -> Result<Self, Error> {
        use pb::verdict::Kind;
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::Alive(boot) => Self::Alive { boot: BootId(uuid(boot, "alive")?) },
            Kind::Unreachable(pb::Unit {}) => Self::Unreachable,
            Kind::PoweredOff(pb::Unit {}) => Self::PoweredOff,
            Kind::CannotTell(why) => Self::CannotTell(number::<pb::Uncertainty, _>(why, "cannot_tell")?),
        })
    }
}

impl From<Evidence> for pb::Evidence {
    fn from(evidence: Evidence) -> Self {
        let Evidence { heartbeat_age, ping_age, health_age, power } = evidence;
        Self {
            heartbeat_age_ms: heartbeat_age.map(|age| age.0),
            ping_age_ms: ping_age.map(|age| age.0),
            health_age_ms: health_age.map(|age| age.0),
            power: power.map(|power| pb::Power::from(power).into()),
        }
    }
}

impl TryFrom<pb::Evidence> for Evidence {
    type Error = Error;
    fn try_from(message: pb::Evidence) -> Result<Self, Error> {
        let pb::Evidence { heartbeat_age_ms, ping_age_ms, health_age_ms, power } = message;
        Ok(Self {
            heartbeat_age: heartbeat_age_ms.map(Millis),
            ping_age: ping_age_ms.map(Millis),
            health_age: health_age_ms.map(Millis),
            power: power.map(|power| number::<pb::Power, _>(power, "power")).transpose()?,
        })
    }
}

impl From<Vote> for pb::Vote {
    fn from(vote: Vote) -> Self {
        let Vote { host, verdict, evidence } = vote;
        Self { host: host.into(), verdict: Some(verdict.into()), evidence: Some(evidence.into()) }
    }
}

impl TryFrom<pb::Vote> for Vote {
    type Error = Error;
    fn try_from(message: pb::Vote) -> Result<Self, Error> {
        let pb::Vote { host, verdict, evidence } = message;
        Ok(Self {
            host: name(host, "host")?,
            verdict: required(verdict, "verdict")?,
            evidence: required(evidence, "evidence")?,
        })
    }
}

impl From<(ControllerId, CastVote)> for pb::CastVote {
    fn from((controller, vote): (ControllerId, CastVote)) -> Self {
        let CastVote { verdict, at, clock, evidence } = vote;
        Self {
            controller: controller.0,
            verdict: Some(verdict.into()),
            at: at.0,
            clock_ms: clock.0,
            evidence: Some(evidence.into()),
        }
    }
}

impl TryFrom<pb::CastVote> for (ControllerId, CastVote) {
    type Error = Error;
    fn try_from(message: pb::CastVote) -> Result<Self, Error> {
        let pb::CastVote { controller, verdict, at, clock_ms, evidence } = message;
        let vote = CastVote {
            verdict: required(verdict, "verdict")?,
            at: LogIndex(at),
            clock: quorumfence_machine::ClusterTime(clock_ms),
            evidence: required(evidence, "evidence")?,
        };
        Ok((ControllerId(controller), vote))
    }
}
