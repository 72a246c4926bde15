//! Commands, as they stand in the log.

use prost::Message;
use quorumfence_machine::{
    Actor, BootId, Change, ClusterId, ClusterTime, Command, ControllerId, InstanceId, LogIndex, Millis, RequestId,
    Token, WallMillis,
};

use super::{Error, byte, decode, fixed, list, missing, name, number, optional_uuid, required, uuid};
use crate::pb;
use crate::pb::change::{self, Kind};

/// Returns a command's bytes for the log. Equal commands give equal bytes.
pub fn encode_command(command: &Command) -> Vec<u8> {
    pb::Command::from(command.clone()).encode_to_vec()
}

/// Reads a command from the log.
pub fn decode_command(bytes: &[u8]) -> Result<Command, Error> {
    decode::<pb::Command>(bytes)?.try_into()
}

impl From<Command> for pb::Command {
    fn from(command: Command) -> Self {
        let Command { by, wall, clock, request, change } = command;
        Self {
            by: Some(by.into()),
            wall_ms: wall.0,
            clock_ms: clock.0,
            request: request.map(|request| request.0.into()),
            change: Some(change.into()),
        }
    }
}

impl TryFrom<pb::Command> for Command {
    type Error = Error;
    fn try_from(message: pb::Command) -> Result<Self, Error> {
        let pb::Command { by, wall_ms, clock_ms, request, change } = message;
        Ok(Self {
            by: required(by, "by")?,
            wall: WallMillis(wall_ms),
            clock: ClusterTime(clock_ms),
            request: optional_uuid(request, "request")?.map(RequestId),
            change: required(change, "change")?,
        })
    }
}

impl From<Actor> for pb::Actor {
    fn from(actor: Actor) -> Self {
        use pb::actor::Kind;
        let kind = match actor {
            Actor::Controller(id) => Kind::Controller(id.0),
            Actor::Agent(host) => Kind::Agent(host.into()),
            Actor::Operator(name) => Kind::Operator(name),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Actor> for Actor {
    type Error = Error;
    fn try_from(message: pb::Actor) -> Result<Self, Error> {
        use pb::actor::Kind;
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::Controller(id) => Self::Controller(ControllerId(id)),
            Kind::Agent(host) => Self::Agent(name(host, "agent")?),
            Kind::Operator(name) => Self::Operator(name),
        })
    }
}

impl From<Change> for pb::Change {
    #[expect(clippy::too_many_lines, reason = "one arm per change reads best in one table")]
    fn from(change: Change) -> Self {
        let kind = match change {
            Change::ClusterCreate { cluster, name, address, settings } => Kind::ClusterCreate(change::ClusterCreate {
                cluster: cluster.0.into(),
                name,
                address,
                settings: Some(settings.into()),
            }),
            Change::SettingsSet { settings } => {
                Kind::SettingsSet(change::SettingsSet { settings: Some(settings.into()) })
            }
            Change::Arm { reason } => Kind::Arm(change::Arm { reason }),
            Change::Disarm { reason } => Kind::Disarm(change::Disarm { reason }),
            Change::JoinTokenCreate { id, secret_hash, role, life, uses } => {
                Kind::JoinTokenCreate(change::JoinTokenCreate {
                    id: id.into(),
                    secret_hash: secret_hash.into(),
                    role: pb::Role::from(role).into(),
                    life_ms: life.0,
                    uses,
                })
            }
            Change::Join { id, secret_hash, joiner } => {
                Kind::Join(change::Join { id: id.into(), secret_hash: secret_hash.into(), joiner: Some(joiner.into()) })
            }
            Change::SegmentCreate { segment } => {
                Kind::SegmentCreate(change::SegmentCreate { segment: Some(segment.into()) })
            }
            Change::HostEnrol { host, enrolment } => {
                Kind::HostEnrol(change::HostEnrol { host: host.into(), enrolment: Some(enrolment.into()) })
            }
            Change::HostMaintenance { host, reason } => {
                Kind::HostMaintenance(change::HostMaintenance { host: host.into(), reason })
            }
            Change::HostConfirmDead { host, reason, boot } => {
                let boot = boot.map(|boot| boot.0.into());
                Kind::HostConfirmDead(change::HostConfirmDead { host: host.into(), reason, boot })
            }
            Change::AgentReport { host, report } => {
                Kind::AgentReport(change::AgentReported { host: host.into(), report: Some(report.into()) })
            }
            Change::Votes { controller, votes } => Kind::Votes(change::Votes {
                controller: controller.0,
                votes: votes.into_iter().map(Into::into).collect(),
            }),
            Change::HostAdmit { host, boot } => {
                Kind::HostAdmit(change::HostAdmit { host: host.into(), boot: boot.0.into() })
            }
            Change::FenceDecide { host, lost_at } => {
                Kind::FenceDecide(change::FenceDecide { host: host.into(), lost_at: lost_at.0 })
            }
            Change::PermitGrant { token, executor, level, life } => Kind::PermitGrant(change::PermitGrant {
                token: token.0.0,
                executor: executor.0,
                level: level.into(),
                life_ms: life.0,
            }),
            Change::FenceResult { token, permit, outcomes } => Kind::FenceResult(change::FenceResult {
                token: token.0.0,
                permit: permit.0,
                outcomes: outcomes.into_iter().map(Into::into).collect(),
            }),
            Change::FenceNewBoot { token, boot } => {
                Kind::FenceNewBoot(change::FenceNewBoot { token: token.0.0, boot: boot.0.into() })
            }
            Change::RecoveryPlan { token, moves } => Kind::RecoveryPlan(change::RecoveryPlan {
                token: token.0.0,
                moves: moves.into_iter().map(Into::into).collect(),
            }),
            Change::RecoveryResult { instance, token, outcome } => Kind::RecoveryResult(change::RecoveryResult {
                instance: instance.0.into(),
                token: token.0.0,
                outcome: Some(outcome.into()),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Change> for Change {
    type Error = Error;
    fn try_from(message: pb::Change) -> Result<Self, Error> {
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::ClusterCreate(change) => cluster_create(change).map_err(|error| error.within("cluster_create"))?,
            Kind::SettingsSet(change) => {
                Self::SettingsSet { settings: required(change.settings, "settings_set.settings")? }
            }
            Kind::Arm(change::Arm { reason }) => Self::Arm { reason },
            Kind::Disarm(change::Disarm { reason }) => Self::Disarm { reason },
            Kind::JoinTokenCreate(change) => {
                join_token_create(change).map_err(|error| error.within("join_token_create"))?
            }
            Kind::Join(change) => join(change).map_err(|error| error.within("join"))?,
            Kind::SegmentCreate(change) => {
                Self::SegmentCreate { segment: required(change.segment, "segment_create.segment")? }
            }
            Kind::HostEnrol(change::HostEnrol { host, enrolment }) => Self::HostEnrol {
                host: name(host, "host_enrol.host")?,
                enrolment: required(enrolment, "host_enrol.enrolment")?,
            },
            Kind::HostMaintenance(change::HostMaintenance { host, reason }) => {
                Self::HostMaintenance { host: name(host, "host_maintenance.host")?, reason }
            }
            Kind::HostConfirmDead(change::HostConfirmDead { host, reason, boot }) => {
                let boot = optional_uuid(boot, "host_confirm_dead.boot")?.map(BootId);
                Self::HostConfirmDead { host: name(host, "host_confirm_dead.host")?, reason, boot }
            }
            Kind::AgentReport(change::AgentReported { host, report }) => Self::AgentReport {
                host: name(host, "agent_report.host")?,
                report: required(report, "agent_report.report")?,
            },
            Kind::Votes(change::Votes { controller, votes }) => {
                Self::Votes { controller: ControllerId(controller), votes: list(votes, "votes.votes")? }
            }
            Kind::HostAdmit(change::HostAdmit { host, boot }) => {
                Self::HostAdmit { host: name(host, "host_admit.host")?, boot: BootId(uuid(boot, "host_admit.boot")?) }
            }
            Kind::FenceDecide(change::FenceDecide { host, lost_at }) => {
                Self::FenceDecide { host: name(host, "fence_decide.host")?, lost_at: LogIndex(lost_at) }
            }
            Kind::PermitGrant(change::PermitGrant { token, executor, level, life_ms }) => Self::PermitGrant {
                token: Token(LogIndex(token)),
                executor: ControllerId(executor),
                level: byte(level, "permit_grant.level")?,
                life: Millis(life_ms),
            },
            Kind::FenceResult(change::FenceResult { token, permit, outcomes }) => Self::FenceResult {
                token: Token(LogIndex(token)),
                permit: LogIndex(permit),
                outcomes: list(outcomes, "fence_result.outcomes")?,
            },
            Kind::FenceNewBoot(change::FenceNewBoot { token, boot }) => {
                Self::FenceNewBoot { token: Token(LogIndex(token)), boot: BootId(uuid(boot, "fence_new_boot.boot")?) }
            }
            Kind::RecoveryPlan(change::RecoveryPlan { token, moves }) => {
                Self::RecoveryPlan { token: Token(LogIndex(token)), moves: list(moves, "recovery_plan.moves")? }
            }
            Kind::RecoveryResult(change::RecoveryResult { instance, token, outcome }) => Self::RecoveryResult {
                instance: InstanceId(uuid(instance, "recovery_result.instance")?),
                token: Token(LogIndex(token)),
                outcome: required(outcome, "recovery_result.outcome")?,
            },
        })
    }
}

fn cluster_create(message: change::ClusterCreate) -> Result<Change, Error> {
    let change::ClusterCreate { cluster, name, address, settings } = message;
    Ok(Change::ClusterCreate {
        cluster: ClusterId(uuid(cluster, "cluster")?),
        name,
        address,
        settings: required(settings, "settings")?,
    })
}

fn join_token_create(message: change::JoinTokenCreate) -> Result<Change, Error> {
    let change::JoinTokenCreate { id, secret_hash, role, life_ms, uses } = message;
    Ok(Change::JoinTokenCreate {
        id: name(id, "id")?,
        secret_hash: fixed(secret_hash, "secret_hash")?,
        role: number::<pb::Role, _>(role, "role")?,
        life: Millis(life_ms),
        uses,
    })
}

fn join(message: change::Join) -> Result<Change, Error> {
    let change::Join { id, secret_hash, joiner } = message;
    Ok(Change::Join {
        id: name(id, "id")?,
        secret_hash: fixed(secret_hash, "secret_hash")?,
        joiner: required(joiner, "joiner")?,
    })
}
