//! Events.

use quorumfence_machine::{
    BootId, ClusterTime, ControllerId, Driver, Event, EventRecord, HostId, InstanceId, LogIndex, Token, WallMillis,
};

use super::{Error, byte, each, missing, name, number, optional, required, uuid};
use crate::pb;
use crate::pb::event::{
    FenceAttemptFailed, HostBoot, HostEnrolled, HostFence, HostFenced, HostLost, InstanceMoved, InstanceRegistered,
    InstanceStarted, InstanceStray, Kind, MaintenanceStarted, PermitGranted, RecoveryFinished, RecoveryPlanned,
    SettingsChanged, StartRefused, VoteCast, VotersChanged, host_enrolled,
};

impl From<EventRecord> for pb::EventRecord {
    fn from(record: EventRecord) -> Self {
        let EventRecord { sequence, at, wall, clock, by, event } = record;
        Self { sequence, at: at.0, wall_ms: wall.0, clock_ms: clock.0, by: Some(by.into()), event: Some(event.into()) }
    }
}

impl TryFrom<pb::EventRecord> for EventRecord {
    type Error = Error;
    fn try_from(message: pb::EventRecord) -> Result<Self, Error> {
        let pb::EventRecord { sequence, at, wall_ms, clock_ms, by, event } = message;
        Ok(Self {
            sequence,
            at: LogIndex(at),
            wall: WallMillis(wall_ms),
            clock: ClusterTime(clock_ms),
            by: required(by, "by")?,
            event: required(event, "event")?,
        })
    }
}

impl From<Event> for pb::Event {
    #[expect(clippy::too_many_lines, reason = "one arm per event reads best in one table")]
    fn from(event: Event) -> Self {
        let kind = match event {
            Event::ClusterCreated { name } => Kind::ClusterCreated(name),
            Event::SettingsChanged { settings } => {
                Kind::SettingsChanged(SettingsChanged { settings: settings.map(|settings| (*settings).into()) })
            }
            Event::Armed { reason } => Kind::Armed(reason),
            Event::Disarmed { reason } => Kind::Disarmed(reason),
            Event::JoinTokenCreated { id } => Kind::JoinTokenCreated(id.into()),
            Event::ControllerJoined { controller } => Kind::ControllerJoined(controller.0),
            Event::VotersChanged { voters } => {
                Kind::VotersChanged(VotersChanged { voters: voters.into_iter().map(|id| id.0).collect() })
            }
            Event::AgentJoined { host } => Kind::AgentJoined(host.into()),
            Event::SegmentCreated { segment } => Kind::SegmentCreated(segment.into()),
            Event::HostEnrolled { host, levels } => Kind::HostEnrolled(host_enrolled_message(host, levels)),
            Event::MaintenanceStarted { host, reason } => {
                Kind::MaintenanceStarted(MaintenanceStarted { host: host.into(), reason })
            }
            Event::MaintenanceEnded { host } => Kind::MaintenanceEnded(host.into()),
            Event::HostBooted { host, boot } => Kind::HostBooted(HostBoot { host: host.into(), boot: boot.0.into() }),
            Event::HostAdmitted { host, boot } => {
                Kind::HostAdmitted(HostBoot { host: host.into(), boot: boot.0.into() })
            }
            Event::VoteCast { controller, host, verdict } => {
                Kind::VoteCast(VoteCast { controller: controller.0, host: host.into(), verdict: Some(verdict.into()) })
            }
            Event::HostLost { host, votes, voters } => {
                Kind::HostLost(HostLost { host: host.into(), votes: votes.into(), voters: voters.into() })
            }
            Event::HostRegained { host } => Kind::HostRegained(host.into()),
            Event::HostRebooted { host, boot } => {
                Kind::HostRebooted(HostBoot { host: host.into(), boot: boot.0.into() })
            }
            Event::FenceDecided { host, token } => {
                Kind::FenceDecided(HostFence { host: host.into(), token: token.0.0 })
            }
            Event::PermitGranted { host, token, executor, level, attempt } => Kind::PermitGranted(PermitGranted {
                host: host.into(),
                token: token.0.0,
                executor: executor.0,
                level: level.into(),
                attempt,
            }),
            Event::FenceAttemptFailed { host, token, level, why } => Kind::FenceAttemptFailed(FenceAttemptFailed {
                host: host.into(),
                token: token.0.0,
                level: level.into(),
                why: Some(why.into()),
            }),
            Event::FenceNeedsHuman { host, token } => {
                Kind::FenceNeedsHuman(HostFence { host: host.into(), token: token.0.0 })
            }
            Event::HostFenced { host, token, proof } => {
                Kind::HostFenced(HostFenced { host: host.into(), token: token.0.0, proof: Some(proof.into()) })
            }
            Event::StormBrakeClosed { host } => Kind::StormBrakeClosed(host.into()),
            Event::InstanceRegistered { instance, name, host } => {
                Kind::InstanceRegistered(InstanceRegistered { instance: instance.0.into(), name, host: host.into() })
            }
            Event::InstanceMoved { instance, from, to } => {
                Kind::InstanceMoved(InstanceMoved { instance: instance.0.into(), from: from.into(), to: to.into() })
            }
            Event::InstanceStray { instance, host, owner } => Kind::InstanceStray(InstanceStray {
                instance: instance.0.into(),
                host: host.into(),
                owner: owner.into(),
            }),
            Event::RecoveryPlanned { instance, from, to, token } => Kind::RecoveryPlanned(RecoveryPlanned {
                instance: instance.0.into(),
                from: from.into(),
                to: Some(to.into()),
                token: token.0.0,
            }),
            Event::StartRefused { instance, host, token, refusal } => Kind::StartRefused(StartRefused {
                instance: instance.0.into(),
                host: host.into(),
                token: token.0.0,
                refusal: pb::Refusal::from(refusal).into(),
            }),
            Event::InstanceStarted { instance, host, token } => Kind::InstanceStarted(InstanceStarted {
                instance: instance.0.into(),
                host: host.into(),
                token: token.0.0,
            }),
            Event::RecoveryFinished { host, token, started, parked } => {
                Kind::RecoveryFinished(RecoveryFinished { host: host.into(), token: token.0.0, started, parked })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Event> for Event {
    type Error = Error;
    fn try_from(message: pb::Event) -> Result<Self, Error> {
        let kind = message.kind.ok_or_else(|| missing("kind"))?;
        let variant = variant(&kind);
        parse(kind).map_err(|error| error.within(variant))
    }
}

#[expect(clippy::too_many_lines, reason = "one arm per event reads best in one table")]
fn parse(kind: Kind) -> Result<Event, Error> {
    Ok(match kind {
        Kind::ClusterCreated(name) => Event::ClusterCreated { name },
        Kind::SettingsChanged(SettingsChanged { settings }) => {
            Event::SettingsChanged { settings: optional(settings, "settings")?.map(Box::new) }
        }
        Kind::Armed(reason) => Event::Armed { reason },
        Kind::Disarmed(reason) => Event::Disarmed { reason },
        Kind::JoinTokenCreated(id) => Event::JoinTokenCreated { id: name(id, "")? },
        Kind::ControllerJoined(id) => Event::ControllerJoined { controller: ControllerId(id) },
        Kind::VotersChanged(VotersChanged { voters }) => {
            Event::VotersChanged { voters: voters.into_iter().map(ControllerId).collect() }
        }
        Kind::AgentJoined(host) => Event::AgentJoined { host: name(host, "")? },
        Kind::SegmentCreated(segment) => Event::SegmentCreated { segment: name(segment, "")? },
        Kind::HostEnrolled(HostEnrolled { host, levels }) => Event::HostEnrolled {
            host: name(host, "host")?,
            levels: each(levels, "levels", |level| {
                each(level.drivers, "drivers", |driver| number::<pb::Driver, Driver>(driver, ""))
            })?,
        },
        Kind::MaintenanceStarted(MaintenanceStarted { host, reason }) => {
            Event::MaintenanceStarted { host: name(host, "host")?, reason }
        }
        Kind::MaintenanceEnded(host) => Event::MaintenanceEnded { host: name(host, "")? },
        Kind::HostBooted(HostBoot { host, boot }) => {
            Event::HostBooted { host: name(host, "host")?, boot: BootId(uuid(boot, "boot")?) }
        }
        Kind::HostAdmitted(HostBoot { host, boot }) => {
            Event::HostAdmitted { host: name(host, "host")?, boot: BootId(uuid(boot, "boot")?) }
        }
        Kind::VoteCast(VoteCast { controller, host, verdict }) => Event::VoteCast {
            controller: ControllerId(controller),
            host: name(host, "host")?,
            verdict: required(verdict, "verdict")?,
        },
        Kind::HostLost(HostLost { host, votes, voters }) => {
            Event::HostLost { host: name(host, "host")?, votes: byte(votes, "votes")?, voters: byte(voters, "voters")? }
        }
        Kind::HostRegained(host) => Event::HostRegained { host: name(host, "")? },
        Kind::HostRebooted(HostBoot { host, boot }) => {
            Event::HostRebooted { host: name(host, "host")?, boot: BootId(uuid(boot, "boot")?) }
        }
        Kind::FenceDecided(HostFence { host, token }) => {
            Event::FenceDecided { host: name(host, "host")?, token: Token(LogIndex(token)) }
        }
        Kind::PermitGranted(PermitGranted { host, token, executor, level, attempt }) => Event::PermitGranted {
            host: name(host, "host")?,
            token: Token(LogIndex(token)),
            executor: ControllerId(executor),
            level: byte(level, "level")?,
            attempt,
        },
        Kind::FenceAttemptFailed(FenceAttemptFailed { host, token, level, why }) => Event::FenceAttemptFailed {
            host: name(host, "host")?,
            token: Token(LogIndex(token)),
            level: byte(level, "level")?,
            why: required(why, "why")?,
        },
        Kind::FenceNeedsHuman(HostFence { host, token }) => {
            Event::FenceNeedsHuman { host: name(host, "host")?, token: Token(LogIndex(token)) }
        }
        Kind::HostFenced(HostFenced { host, token, proof }) => Event::HostFenced {
            host: name(host, "host")?,
            token: Token(LogIndex(token)),
            proof: required(proof, "proof")?,
        },
        Kind::StormBrakeClosed(host) => Event::StormBrakeClosed { host: name(host, "")? },
        Kind::InstanceRegistered(InstanceRegistered { instance, name: text, host }) => Event::InstanceRegistered {
            instance: InstanceId(uuid(instance, "instance")?),
            name: text,
            host: name(host, "host")?,
        },
        Kind::InstanceMoved(InstanceMoved { instance, from, to }) => Event::InstanceMoved {
            instance: InstanceId(uuid(instance, "instance")?),
            from: name(from, "from")?,
            to: name(to, "to")?,
        },
        Kind::InstanceStray(InstanceStray { instance, host, owner }) => Event::InstanceStray {
            instance: InstanceId(uuid(instance, "instance")?),
            host: name(host, "host")?,
            owner: name(owner, "owner")?,
        },
        Kind::RecoveryPlanned(RecoveryPlanned { instance, from, to, token }) => Event::RecoveryPlanned {
            instance: InstanceId(uuid(instance, "instance")?),
            from: name(from, "from")?,
            to: required(to, "to")?,
            token: Token(LogIndex(token)),
        },
        Kind::StartRefused(StartRefused { instance, host, token, refusal }) => Event::StartRefused {
            instance: InstanceId(uuid(instance, "instance")?),
            host: name(host, "host")?,
            token: Token(LogIndex(token)),
            refusal: number::<pb::Refusal, _>(refusal, "refusal")?,
        },
        Kind::InstanceStarted(InstanceStarted { instance, host, token }) => Event::InstanceStarted {
            instance: InstanceId(uuid(instance, "instance")?),
            host: name(host, "host")?,
            token: Token(LogIndex(token)),
        },
        Kind::RecoveryFinished(RecoveryFinished { host, token, started, parked }) => {
            Event::RecoveryFinished { host: name(host, "host")?, token: Token(LogIndex(token)), started, parked }
        }
    })
}

fn host_enrolled_message(host: HostId, levels: Vec<Vec<Driver>>) -> HostEnrolled {
    let level = |drivers: Vec<Driver>| host_enrolled::Drivers {
        drivers: drivers.into_iter().map(|driver| pb::Driver::from(driver).into()).collect(),
    };
    HostEnrolled { host: host.into(), levels: levels.into_iter().map(level).collect() }
}

/// Returns the name of an event's field, for the path in an error.
const fn variant(kind: &Kind) -> &'static str {
    match kind {
        Kind::ClusterCreated(_) => "cluster_created",
        Kind::SettingsChanged(_) => "settings_changed",
        Kind::Armed(_) => "armed",
        Kind::Disarmed(_) => "disarmed",
        Kind::JoinTokenCreated(_) => "join_token_created",
        Kind::ControllerJoined(_) => "controller_joined",
        Kind::VotersChanged(_) => "voters_changed",
        Kind::AgentJoined(_) => "agent_joined",
        Kind::SegmentCreated(_) => "segment_created",
        Kind::HostEnrolled(_) => "host_enrolled",
        Kind::MaintenanceStarted(_) => "maintenance_started",
        Kind::MaintenanceEnded(_) => "maintenance_ended",
        Kind::HostBooted(_) => "host_booted",
        Kind::HostAdmitted(_) => "host_admitted",
        Kind::VoteCast(_) => "vote_cast",
        Kind::HostLost(_) => "host_lost",
        Kind::HostRegained(_) => "host_regained",
        Kind::HostRebooted(_) => "host_rebooted",
        Kind::FenceDecided(_) => "fence_decided",
        Kind::PermitGranted(_) => "permit_granted",
        Kind::FenceAttemptFailed(_) => "fence_attempt_failed",
        Kind::FenceNeedsHuman(_) => "fence_needs_human",
        Kind::HostFenced(_) => "host_fenced",
        Kind::StormBrakeClosed(_) => "storm_brake_closed",
        Kind::InstanceRegistered(_) => "instance_registered",
        Kind::InstanceMoved(_) => "instance_moved",
        Kind::InstanceStray(_) => "instance_stray",
        Kind::RecoveryPlanned(_) => "recovery_planned",
        Kind::StartRefused(_) => "start_refused",
        Kind::InstanceStarted(_) => "instance_started",
        Kind::RecoveryFinished(_) => "recovery_finished",
    }
}
