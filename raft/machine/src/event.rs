//! Events: what applied commands changed. The public, ordered history and the audit trail.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Actor, BootId, ClusterTime, ControllerId, Destination, Driver, HostId, InstanceId, JoinTokenId, LogIndex, Outcome,
    Proof, Refusal, SegmentId, Settings, Token, Verdict, WallMillis,
};

/// One event with its place in the history.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventRecord {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// The entry that caused it.
    pub at: LogIndex,
    /// The proposer's wall clock, for display.
    pub wall: WallMillis,
    /// The cluster's clock.
    pub clock: ClusterTime,
    /// Who asked for the change.
    pub by: Actor,
    /// What changed.
    pub event: Event,
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Event {
    /// The cluster exists.
    ClusterCreated { name: String },
    /// The settings were replaced: by these, where the version that committed it said so.
    SettingsChanged { settings: Option<Box<Settings>> },
    /// The cluster may fence.
    Armed { reason: String },
    /// The cluster does not start new fences.
    Disarmed { reason: String },
    /// A join token was created.
    JoinTokenCreated { id: JoinTokenId },
    /// A controller joined and has its id.
    ControllerJoined { controller: ControllerId },
    /// The voters are these.
    VotersChanged { voters: Vec<ControllerId> },
    /// A host's agent joined.
    AgentJoined { host: HostId },
    /// A segment was created.
    SegmentCreated { segment: SegmentId },
    /// A host was enrolled with these fencing drivers, level by level.
    HostEnrolled { host: HostId, levels: Vec<Vec<Driver>> },
    /// A host is in maintenance.
    MaintenanceStarted { host: HostId, reason: String },
    /// A host's maintenance ended.
    MaintenanceEnded { host: HostId },
    /// A host's agent reports a boot that is not the admitted one.
    HostBooted { host: HostId, boot: BootId },
    /// A host may run instances.
    HostAdmitted { host: HostId, boot: BootId },
    /// A controller changed its verdict on a host.
    VoteCast { controller: ControllerId, host: HostId, verdict: Verdict },
    /// A majority sees the host dead.
    HostLost { host: HostId, votes: u8, voters: u8 },
    /// The host was lost and no majority sees it dead any more; nothing had been decided.
    HostRegained { host: HostId },
    /// The host rebooted by itself: its instances are gone.
    HostRebooted { host: HostId, boot: BootId },
    /// It is decided that the host is fenced.
    FenceDecided { host: HostId, token: Token },
    /// An executor may act.
    PermitGranted { host: HostId, token: Token, executor: ControllerId, level: u8, attempt: u32 },
    /// A level did not prove the host off.
    FenceAttemptFailed { host: HostId, token: Token, level: u8, why: Outcome<()> },
    /// Every level was tried; a person is needed, and the levels are tried again slowly.
    FenceNeedsHuman { host: HostId, token: Token },
    /// The host is proven unable to run.
    HostFenced { host: HostId, token: Token, proof: Proof },
    /// The storm brake closed: too many fences in the window. `arm` opens it.
    StormBrakeClosed { host: HostId },
    /// An instance was registered.
    InstanceRegistered { instance: InstanceId, name: String, host: HostId },
    /// An instance moved between living hosts by other hands (a live migration).
    InstanceMoved { instance: InstanceId, from: HostId, to: HostId },
    /// An instance stands on a host that does not own it.
    InstanceStray { instance: InstanceId, host: HostId, owner: HostId },
    /// An instance's recovery was planned. The token is the assignment's.
    RecoveryPlanned { instance: InstanceId, from: HostId, to: Destination, token: Token },
    /// A start was refused.
    StartRefused { instance: InstanceId, host: HostId, token: Token, refusal: Refusal },
    /// The instance runs again.
    InstanceStarted { instance: InstanceId, host: HostId, token: Token },
    /// Everything that this fence set out to move runs or is parked.
    RecoveryFinished { host: HostId, token: Token, started: u32, parked: u32 },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterCreated { name } => write!(f, "cluster {name} created"),
            Self::SettingsChanged { .. } => write!(f, "settings changed"),
            Self::Armed { reason } => write!(f, "armed: {reason}"),
            Self::Disarmed { reason } => write!(f, "disarmed: {reason}"),
            Self::JoinTokenCreated { id } => write!(f, "join token {id} created"),
            Self::ControllerJoined { controller } => write!(f, "{controller} joined"),
            Self::VotersChanged { voters } => {
                let names: Vec<String> = voters.iter().map(ToString::to_string).collect();
                write!(f, "voters are {}", names.join(", "))
            }
            Self::AgentJoined { host } => write!(f, "agent of {host} joined"),
            Self::SegmentCreated { segment } => write!(f, "segment {segment} created"),
            Self::HostEnrolled { host, levels } => {
                write!(f, "host {host} enrolled with {} fencing level(s)", levels.len())
            }
            Self::MaintenanceStarted { host, reason } => write!(f, "host {host} in maintenance: {reason}"),
            Self::MaintenanceEnded { host } => write!(f, "host {host} out of maintenance"),
            Self::HostBooted { host, boot } => write!(f, "host {host} reports boot {boot}"),
            Self::HostAdmitted { host, boot } => write!(f, "host {host} admitted, boot {boot}"),
            Self::VoteCast { controller, host, verdict } => write!(f, "{controller} votes: {host} {verdict}"),
            Self::HostLost { host, votes, voters } => write!(f, "host {host} lost by {votes} of {voters} votes"),
            Self::HostRegained { host } => write!(f, "host {host} seen again before a decision"),
            Self::HostRebooted { host, boot } => write!(f, "host {host} rebooted by itself, boot {boot}"),
            Self::FenceDecided { host, token } => write!(f, "fence {host} decided, token {token}"),
            Self::PermitGranted { host, token, executor, level, attempt } => {
                write!(f, "{executor} may fence {host}, token {token}, level {}, attempt {attempt}", level + 1)
            }
            Self::FenceAttemptFailed { host, token, level, why } => {
                write!(f, "level {} did not prove {host} off, token {token}: ", level + 1)?;
                match why {
                    Outcome::Observed(()) => f.write_str("off was not read twice"),
                    Outcome::Refused(refusal) => write!(f, "refused, {refusal}"),
                    Outcome::Unknown(doubt) => write!(f, "unknown, {doubt}"),
                }
            }
            Self::FenceNeedsHuman { host, token } => {
                write!(
                    f,
                    "no level proves {host} off, token {token}; nothing moves until one does or a person confirms"
                )
            }
            Self::HostFenced { host, token, proof } => write!(f, "host {host} fenced, token {token}: {proof}"),
            Self::StormBrakeClosed { host } => write!(f, "storm brake closed at {host}; 'arm' opens it"),
            Self::InstanceRegistered { instance, name, host } => write!(f, "instance {name} ({instance}) on {host}"),
            Self::InstanceMoved { instance, from, to } => write!(f, "instance {instance} moved {from} to {to}"),
            Self::InstanceStray { instance, host, owner } => {
                write!(f, "instance {instance} stands on {host}; its owner is {owner}")
            }
            Self::RecoveryPlanned { instance, from, to, token } => match to {
                Destination::Host { host, .. } => {
                    write!(f, "start {instance} ordered, {from} to {host}, token {token}")
                }
                Destination::Parked(why) => write!(f, "instance {instance} of {from} parked: {why}"),
            },
            Self::StartRefused { instance, host, token, refusal } => {
                write!(f, "{host} refused to start {instance}, token {token}: {refusal}")
            }
            Self::InstanceStarted { instance, host, token } => {
                write!(f, "instance {instance} runs on {host}, token {token}")
            }
            Self::RecoveryFinished { host, token, started, parked } => {
                write!(f, "recovery of {host} finished, token {token}: {started} started, {parked} parked")
            }
        }
    }
}
