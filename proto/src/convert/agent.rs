//! What an agent reports, is ordered and answers.

use quorumfence_machine::{
    Action, AgentReport, Answer, BootId, Holder, Holding, InstanceId, LogIndex, Millis, Order, Stray, SystemUuid, Token,
};

use super::{Error, each, list, missing, name, optional, optional_uuid, required, uuid};
use crate::pb;

impl From<AgentReport> for pb::AgentReport {
    fn from(report: AgentReport) -> Self {
        let AgentReport { boot, system_uuid, memory_mib, instances, cannot_refuse, listed, as_of } = report;
        Self {
            boot: boot.0.into(),
            system_uuid: system_uuid.map(|uuid| uuid.0.into()),
            memory_mib,
            instances: instances.into_iter().map(Into::into).collect(),
            cannot_refuse,
            as_of: as_of.map(|at| at.0),
            listed_ms: listed.0,
        }
    }
}

impl TryFrom<pb::AgentReport> for AgentReport {
    type Error = Error;
    fn try_from(message: pb::AgentReport) -> Result<Self, Error> {
        let pb::AgentReport { boot, system_uuid, memory_mib, instances, cannot_refuse, as_of, listed_ms } = message;
        Ok(Self {
            boot: BootId(uuid(boot, "boot")?),
            system_uuid: optional_uuid(system_uuid, "system_uuid")?.map(SystemUuid),
            memory_mib,
            instances: list(instances, "instances")?,
            cannot_refuse,
            listed: Millis(listed_ms),
            as_of: as_of.map(LogIndex),
        })
    }
}

impl From<Order> for pb::Order {
    fn from(order: Order) -> Self {
        use pb::order::Action as Wire;
        let Order { token, instance, boot, action } = order;
        let action = match action {
            Action::Start { definition } => Wire::Start(pb::order::Start { definition }),
            Action::Stop => Wire::Stop(pb::Unit {}),
        };
        Self { token: token.0.0, instance: instance.0.into(), boot: boot.0.into(), action: Some(action) }
    }
}

impl TryFrom<pb::Order> for Order {
    type Error = Error;
    fn try_from(message: pb::Order) -> Result<Self, Error> {
        use pb::order::Action as Wire;
        let pb::Order { token, instance, boot, action } = message;
        Ok(Self {
            token: Token(LogIndex(token)),
            instance: InstanceId(uuid(instance, "instance")?),
            boot: BootId(uuid(boot, "boot")?),
            action: match action.ok_or_else(|| missing("action"))? {
                Wire::Start(pb::order::Start { definition }) => Action::Start { definition },
                Wire::Stop(pb::Unit {}) => Action::Stop,
            },
        })
    }
}

impl From<Answer> for pb::OrderAnswer {
    fn from(answer: Answer) -> Self {
        let Answer { token, instance, outcome } = answer;
        Self { token: token.0.0, instance: instance.0.into(), outcome: Some(outcome.into()) }
    }
}

impl TryFrom<pb::OrderAnswer> for Answer {
    type Error = Error;
    fn try_from(message: pb::OrderAnswer) -> Result<Self, Error> {
        let pb::OrderAnswer { token, instance, outcome } = message;
        Ok(Self {
            token: Token(LogIndex(token)),
            instance: InstanceId(uuid(instance, "instance")?),
            outcome: required(outcome, "outcome")?,
        })
    }
}

impl From<Holding> for pb::HolderReply {
    fn from(holding: Holding) -> Self {
        let Holding { holder, strays } = holding;
        Self { holder: holder.map(Into::into), strays: strays.into_iter().map(Into::into).collect() }
    }
}

impl TryFrom<pb::HolderReply> for Holding {
    type Error = Error;
    fn try_from(message: pb::HolderReply) -> Result<Self, Error> {
        let pb::HolderReply { holder, strays } = message;
        Ok(Self { holder: optional(holder, "holder")?, strays: each(strays, "strays", Stray::try_from)? })
    }
}

impl From<Stray> for pb::StrayCopy {
    fn from(stray: Stray) -> Self {
        let Stray { host, boot } = stray;
        Self { host: host.into(), boot: boot.0.into() }
    }
}

impl TryFrom<pb::StrayCopy> for Stray {
    type Error = Error;
    fn try_from(message: pb::StrayCopy) -> Result<Self, Error> {
        let pb::StrayCopy { host, boot } = message;
        Ok(Self { host: name(host, "host")?, boot: BootId(uuid(boot, "boot")?) })
    }
}

impl From<Holder> for pb::InstanceHolder {
    fn from(holder: Holder) -> Self {
        let Holder { host, token, boot } = holder;
        Self { host: host.into(), token: token.0.0, boot: boot.map(|boot| boot.0.into()) }
    }
}

impl TryFrom<pb::InstanceHolder> for Holder {
    type Error = Error;
    fn try_from(message: pb::InstanceHolder) -> Result<Self, Error> {
        let pb::InstanceHolder { host, token, boot } = message;
        Ok(Self {
            host: name(host, "host")?,
            token: Token(LogIndex(token)),
            boot: optional_uuid(boot, "boot")?.map(BootId),
        })
    }
}
