//! Fences: permits, stages and proofs.

use std::collections::BTreeSet;

use quorumfence_machine::{BootId, ClusterTime, ControllerId, Fence, LogIndex, Millis, Permit, Proof, Stage, Token};

use super::{Error, byte, each, list, missing, name, optional_uuid, required, sorted, uuid};
use crate::pb;

impl From<Fence> for pb::Fence {
    fn from(fence: Fence) -> Self {
        Self {
            token: fence.token.0.0,
            host: fence.host.into(),
            boot: fence.boot.map(|boot| boot.0.into()),
            lost_at: fence.lost_at.0,
            decided_ms: fence.decided.0,
            level: fence.level.into(),
            attempt: fence.attempt,
            not_before_ms: fence.not_before.0,
            executor: fence.executor.map(|executor| executor.0),
            permits: fence.permits.into_iter().map(Into::into).collect(),
            stage: Some(fence.stage.into()),
            failed: fence.failed,
            started: fence.started,
            refused: fence.refused.into_iter().map(u32::from).collect(),
        }
    }
}

impl TryFrom<pb::Fence> for Fence {
    type Error = Error;
    fn try_from(message: pb::Fence) -> Result<Self, Error> {
        let refused = each(message.refused, "refused", |level| byte(level, ""))?;
        Ok(Self {
            token: Token(LogIndex(message.token)),
            host: name(message.host, "host")?,
            boot: optional_uuid(message.boot, "boot")?.map(BootId),
            lost_at: LogIndex(message.lost_at),
            decided: ClusterTime(message.decided_ms),
            level: byte(message.level, "level")?,
            attempt: message.attempt,
            not_before: ClusterTime(message.not_before_ms),
            executor: message.executor.map(ControllerId),
            permits: list(message.permits, "permits")?,
            stage: required(message.stage, "stage")?,
            failed: message.failed,
            started: message.started,
            refused: BTreeSet::from_iter(sorted(refused, "refused")?),
        })
    }
}

impl From<Permit> for pb::Permit {
    fn from(permit: Permit) -> Self {
        let Permit { at, executor, level, ends, late_delivery, ended } = permit;
        Self {
            at: at.0,
            executor: executor.0,
            level: level.into(),
            ends_ms: ends.0,
            ended,
            late_delivery_ms: late_delivery.0,
        }
    }
}

impl TryFrom<pb::Permit> for Permit {
    type Error = Error;
    fn try_from(message: pb::Permit) -> Result<Self, Error> {
        let pb::Permit { at, executor, level, ends_ms, ended, late_delivery_ms } = message;
        Ok(Self {
            at: LogIndex(at),
            executor: ControllerId(executor),
            level: byte(level, "level")?,
            ends: ClusterTime(ends_ms),
            late_delivery: Millis(late_delivery_ms),
            ended,
        })
    }
}

impl From<Stage> for pb::Stage {
    fn from(stage: Stage) -> Self {
        use pb::stage::{Kind, Proven};
        let kind = match stage {
            Stage::Working => Kind::Working(pb::Unit {}),
            Stage::NeedsHuman => Kind::NeedsHuman(pb::Unit {}),
            Stage::Proven { at, proof } => Kind::Proven(Proven { at: at.0, proof: Some(proof.into()) }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Stage> for Stage {
    type Error = Error;
    fn try_from(message: pb::Stage) -> Result<Self, Error> {
        use pb::stage::{Kind, Proven};
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::Working(pb::Unit {}) => Self::Working,
            Kind::NeedsHuman(pb::Unit {}) => Self::NeedsHuman,
            Kind::Proven(Proven { at, proof }) => {
                Self::Proven { at: LogIndex(at), proof: required(proof, "proven.proof")? }
            }
        })
    }
}

impl From<Proof> for pb::Proof {
    fn from(proof: Proof) -> Self {
        use pb::proof::{Human, Kind, PowerOffVerified};
        let kind = match proof {
            Proof::PowerOffVerified { level, ordered } => {
                Kind::PowerOffVerified(PowerOffVerified { level: level.into(), ordered })
            }
            Proof::NewBootId { boot } => Kind::NewBootId(boot.0.into()),
            Proof::Human { operator, reason } => Kind::Human(Human { operator, reason }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Proof> for Proof {
    type Error = Error;
    fn try_from(message: pb::Proof) -> Result<Self, Error> {
        use pb::proof::{Human, Kind, PowerOffVerified};
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::PowerOffVerified(PowerOffVerified { level, ordered }) => {
                Self::PowerOffVerified { level: byte(level, "power_off_verified.level")?, ordered }
            }
            Kind::NewBootId(boot) => Self::NewBootId { boot: BootId(uuid(boot, "new_boot_id")?) },
            Kind::Human(Human { operator, reason }) => Self::Human { operator, reason },
        })
    }
}
