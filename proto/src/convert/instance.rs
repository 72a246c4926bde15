//! Instances and their way to another owner.

use quorumfence_machine::{
    Assignment, BootId, ClusterTime, Death, Instance, InstanceId, InstanceReport, LogIndex, Recovery, RecoveryStage,
    Token,
};

use super::{Error, Problem, missing, name, number, optional, required, uuid};
use crate::pb;

fn priority(value: u32) -> Result<u16, Error> {
    let too_large = Problem::TooLarge { max: u16::MAX.into(), actual: value.into() };
    u16::try_from(value).map_err(|_| Error::new("priority", too_large))
}

impl From<Instance> for pb::Instance {
    fn from(instance: Instance) -> Self {
        Self {
            id: instance.id.0.into(),
            name: instance.name,
            ha_enabled: instance.ha_enabled,
            priority: instance.priority.into(),
            memory_mib: instance.memory_mib,
            definition: instance.definition,
            owner: instance.owner.into(),
            token: instance.token.0.0,
            state: pb::InstanceState::from(instance.state).into(),
            recovery: instance.recovery.map(Into::into),
            started_at: instance.started_at.map(|at| at.0),
            may_have_died: instance.may_have_died.map(Into::into),
            seen_as_of: instance.seen_as_of.map(|at| at.0),
            left_at: instance.left_at.map(|at| at.0),
            listed_elsewhere_at: instance.listed_elsewhere_at.map(|at| at.0),
        }
    }
}

impl TryFrom<pb::Instance> for Instance {
    type Error = Error;
    fn try_from(message: pb::Instance) -> Result<Self, Error> {
        Ok(Self {
            id: InstanceId(uuid(message.id, "id")?),
            name: message.name,
            ha_enabled: message.ha_enabled,
            priority: priority(message.priority)?,
            memory_mib: message.memory_mib,
            definition: message.definition,
            owner: name(message.owner, "owner")?,
            token: Token(LogIndex(message.token)),
            state: number::<pb::InstanceState, _>(message.state, "state")?,
            recovery: optional(message.recovery, "recovery")?,
            started_at: message.started_at.map(LogIndex),
            may_have_died: optional(message.may_have_died, "may_have_died")?,
            seen_as_of: message.seen_as_of.map(LogIndex),
            left_at: message.left_at.map(LogIndex),
            listed_elsewhere_at: message.listed_elsewhere_at.map(LogIndex),
        })
    }
}

impl From<InstanceReport> for pb::InstanceReport {
    fn from(report: InstanceReport) -> Self {
        let InstanceReport { id, name, state, ha_enabled, priority, memory_mib, definition } = report;
        Self {
            id: id.0.into(),
            name,
            state: pb::InstanceState::from(state).into(),
            ha_enabled,
            priority: priority.into(),
            memory_mib,
            definition,
        }
    }
}

impl TryFrom<pb::InstanceReport> for InstanceReport {
    type Error = Error;
    fn try_from(message: pb::InstanceReport) -> Result<Self, Error> {
        Ok(Self {
            id: InstanceId(uuid(message.id, "id")?),
            name: message.name,
            state: number::<pb::InstanceState, _>(message.state, "state")?,
            ha_enabled: message.ha_enabled,
            priority: priority(message.priority)?,
            memory_mib: message.memory_mib,
            definition: message.definition,
        })
    }
}

impl From<Recovery> for pb::Recovery {
    fn from(recovery: Recovery) -> Self {
        let Recovery { fence, stage, refusals, not_before } = recovery;
        Self { fence: fence.0.0, stage: Some(stage.into()), refusals, not_before_ms: not_before.0 }
    }
}

impl TryFrom<pb::Recovery> for Recovery {
    type Error = Error;
    fn try_from(message: pb::Recovery) -> Result<Self, Error> {
        let pb::Recovery { fence, stage, refusals, not_before_ms } = message;
        let not_before = ClusterTime(not_before_ms);
        Ok(Self { fence: Token(LogIndex(fence)), stage: required(stage, "stage")?, refusals, not_before })
    }
}

impl From<RecoveryStage> for pb::RecoveryStage {
    fn from(stage: RecoveryStage) -> Self {
        use pb::recovery_stage::{Kind, Refused};
        let kind = match stage {
            RecoveryStage::Waiting => Kind::Waiting(pb::Unit {}),
            RecoveryStage::Assigned(assignment) => Kind::Assigned(assignment.into()),
            RecoveryStage::Parked(why) => Kind::Parked(why.into()),
            RecoveryStage::Refused { host, refusal } => {
                Kind::Refused(Refused { host: host.into(), refusal: pb::Refusal::from(refusal).into() })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::RecoveryStage> for RecoveryStage {
    type Error = Error;
    fn try_from(message: pb::RecoveryStage) -> Result<Self, Error> {
        use pb::recovery_stage::{Kind, Refused};
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::Waiting(pb::Unit {}) => Self::Waiting,
            Kind::Assigned(assignment) => Self::Assigned(required(Some(assignment), "assigned")?),
            Kind::Parked(why) => Self::Parked(required(Some(why), "parked")?),
            Kind::Refused(Refused { host, refusal }) => Self::Refused {
                host: name(host, "refused.host")?,
                refusal: number::<pb::Refusal, _>(refusal, "refused.refusal")?,
            },
        })
    }
}

impl From<Assignment> for pb::recovery_stage::Assignment {
    fn from(assignment: Assignment) -> Self {
        let Assignment { token, host, boot } = assignment;
        Self { token: token.0.0, host: host.into(), boot: boot.0.into() }
    }
}

impl TryFrom<pb::recovery_stage::Assignment> for Assignment {
    type Error = Error;
    fn try_from(message: pb::recovery_stage::Assignment) -> Result<Self, Error> {
        let pb::recovery_stage::Assignment { token, host, boot } = message;
        Ok(Self { token: Token(LogIndex(token)), host: name(host, "host")?, boot: BootId(uuid(boot, "boot")?) })
    }
}

impl From<Death> for pb::Death {
    fn from(death: Death) -> Self {
        let Death { host, fence, proven_at, on_its_way } = death;
        Self { host: host.into(), fence: fence.0.0, proven_at: proven_at.0, on_its_way }
    }
}

impl TryFrom<pb::Death> for Death {
    type Error = Error;
    fn try_from(message: pb::Death) -> Result<Self, Error> {
        let pb::Death { host, fence, proven_at, on_its_way } = message;
        let (fence, proven_at) = (Token(LogIndex(fence)), LogIndex(proven_at));
        Ok(Self { host: name(host, "host")?, fence, proven_at, on_its_way })
    }
}
