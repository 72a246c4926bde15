//! Commands: wishes to change the replicated state. Nothing else enters the log.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    BootId, ClusterId, ClusterTime, ControllerId, HostId, InstanceId, InstanceState, JoinTokenId, LogIndex, Millis,
    Outcome, Power, Refusal, RequestId, SegmentId, Settings, SystemUuid, Token, WallMillis,
};

/// A wish to change the replicated state, with who asked and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Who asked.
    pub by: Actor,
    /// The proposing leader's wall clock. For display only.
    pub wall: WallMillis,
    /// The cluster's clock as the proposing leader continued it.
    pub clock: ClusterTime,
    /// Makes a request that is sent twice change the state once.
    pub request: Option<RequestId>,
    /// What to change.
    pub change: Change,
}

/// Who asked for a change; taken from the peer's certificate, never from the message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Actor {
    /// A controller, by its own loops.
    Controller(ControllerId),
    /// A host's agent.
    Agent(HostId),
    /// A person, by the name in the certificate.
    Operator(String),
}

/// What to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Creates the cluster: the first command in every log.
    ClusterCreate {
        /// Its identity.
        cluster: ClusterId,
        /// What operators call it.
        name: String,
        /// The first controller's address, `host:port`.
        address: String,
        /// The first settings.
        settings: Settings,
    },
    /// Replaces the settings as a whole.
    SettingsSet {
        /// The new settings.
        settings: Settings,
    },
    /// Lets the cluster fence, and opens a storm brake that closed.
    Arm {
        /// Why, in the operator's words.
        reason: String,
    },
    /// Stops new fences; those that are decided are carried out.
    Disarm {
        /// Why, in the operator's words.
        reason: String,
    },
    /// Creates a join token; only the hash of its secret enters the log.
    JoinTokenCreate {
        /// Its public half.
        id: JoinTokenId,
        /// SHA-256 of the secret.
        secret_hash: [u8; 32],
        /// What it admits.
        role: Role,
        /// How long it can be used, by the cluster's clock.
        life: Millis,
        /// How often it can be used.
        uses: u32,
    },
    /// Uses a join token: allocates a controller's id, or binds a host's name to one agent.
    Join {
        /// The token's public half.
        id: JoinTokenId,
        /// SHA-256 of the secret that the joiner showed.
        secret_hash: [u8; 32],
        /// Who joins.
        joiner: Joiner,
    },
    /// Creates a segment.
    SegmentCreate {
        /// The segment.
        segment: Segment,
    },
    /// Gives a host its segment, addresses and fencing levels; may be repeated to change them.
    HostEnrol {
        /// The host.
        host: HostId,
        /// Where it belongs and how to reach it.
        enrolment: Enrolment,
    },
    /// Puts a host into maintenance or takes it out. A host in maintenance is never fenced and gets no instance.
    HostMaintenance {
        /// The host.
        host: HostId,
        /// The reason; `None` ends the maintenance.
        reason: Option<String>,
    },
    /// A person vouches that a lost host is dead: a proof of class `Human`.
    HostConfirmDead {
        /// The host.
        host: HostId,
        /// Why the person is sure.
        reason: String,
        /// The boot that the host had reported last when the person looked; `None` where nobody says.
        #[serde(default)]
        boot: Option<BootId>,
    },
    /// An agent's facts and instances, when they differ from what the state holds.
    AgentReport {
        /// The host.
        host: HostId,
        /// What its agent says.
        report: AgentReport,
    },
    /// One controller's changed verdicts.
    Votes {
        /// The voter.
        controller: ControllerId,
        /// Its changed verdicts.
        votes: Vec<Vote>,
    },
    /// Admits a host's boot: from here on it may run instances.
    HostAdmit {
        /// The host.
        host: HostId,
        /// The boot that is admitted, and no other.
        boot: BootId,
    },
    /// Decides that a lost host is fenced. The entry's index is the token.
    FenceDecide {
        /// The host.
        host: HostId,
        /// The entry that made it lost.
        lost_at: LogIndex,
    },
    /// Gives an executor leave to act on a fence for a bounded time.
    PermitGrant {
        /// The fence.
        token: Token,
        /// Who may act.
        executor: ControllerId,
        /// The fencing level to use.
        level: u8,
        /// How long, on the executor's own monotonic clock, from before it asked.
        life: Millis,
    },
    /// What the executor saw at every device of the level. Ends its permit.
    FenceResult {
        /// The fence.
        token: Token,
        /// The permit that it acted under.
        permit: LogIndex,
        /// One per device of the level, in order.
        outcomes: Vec<Outcome<OffSeen>>,
    },
    /// The host came back under another boot, which proves that the old one is over.
    FenceNewBoot {
        /// The fence.
        token: Token,
        /// The new boot.
        boot: BootId,
    },
    /// Where the instances of a fenced host go: the intent, committed before the order.
    RecoveryPlan {
        /// The fence that the moves rest on.
        token: Token,
        /// One per instance.
        moves: Vec<Move>,
    },
    /// What became of one start order.
    RecoveryResult {
        /// The instance.
        instance: InstanceId,
        /// The assignment's token.
        token: Token,
        /// What the agent saw.
        outcome: Outcome<InstanceState>,
    },
}

/// What a join token admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// A controller node.
    Controller,
    /// A host's agent.
    Agent,
}

/// Who joins with a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Joiner {
    /// A controller that listens at an address, `host:port`.
    Controller {
        /// Where its peers reach it.
        address: String,
    },
    /// The agent of a host.
    Agent {
        /// The host.
        host: HostId,
    },
}

/// A group of hosts that share one recovery policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Segment {
    /// Its name.
    pub id: SegmentId,
    /// Checks in a row that must fail before a controller votes a host unreachable; it misses three heartbeats at least.
    pub failure_threshold: u32,
    /// Time between two checks.
    pub check_interval: Millis,
    /// Whether instances are moved after a fence.
    pub evacuation_enabled: bool,
    /// How targets are chosen.
    pub method: RecoveryMethod,
    /// A fence that would leave fewer healthy hosts than this share of the segment waits for a person.
    pub minimum_healthy_percent: u8,
}

/// How targets are chosen (Masakari's recovery method).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecoveryMethod {
    /// Any healthy host of the segment with room.
    Auto,
}

/// Where a host belongs, how to look at it and how to fence it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Enrolment {
    /// Its segment.
    pub segment: SegmentId,
    /// Address to ping; `None` leaves ping out of the evidence.
    pub ping: Option<String>,
    /// Health endpoint, `http://host:port/path` or `tcp://host:port`; `None` leaves it out of the evidence.
    pub health: Option<String>,
    /// Fencing levels, tried in order. All devices of one level must be off.
    pub levels: Vec<Level>,
}

/// One fencing level.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Level {
    /// Its devices; all must be off.
    pub devices: Vec<Device>,
}

/// One fencing device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Device {
    /// Which driver speaks to it.
    pub driver: Driver,
    /// Its address, `host:port`.
    pub address: String,
    /// The account.
    pub user: String,
    /// The password, sealed with the cluster key, which is not in the log.
    pub sealed_password: Vec<u8>,
    /// The RMCP+ cipher suite that worked at enrolment.
    pub suite: Option<u8>,
    /// The machine behind it, as the device said at enrolment; `None` when it offers none.
    pub identity: Option<SystemUuid>,
}

/// Which driver speaks to a fencing device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Driver {
    /// IPMI 2.0 over RMCP+.
    Ipmi,
    /// The laboratory's simulated BMC; refused unless the node says `laboratory = true`.
    Laboratory,
}

/// What an agent says about its host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AgentReport {
    /// The running boot.
    pub boot: BootId,
    /// The machine's SMBIOS UUID, where it could be read.
    pub system_uuid: Option<SystemUuid>,
    /// Memory for instances, in MiB.
    pub memory_mib: u64,
    /// The instances that its hypervisor knows.
    pub instances: Vec<InstanceReport>,
    /// Whether its disk does not keep what it refuses: it could not answer a start with no, so it is no target.
    #[serde(default)]
    pub cannot_refuse: bool,
    /// When the list was made, on the host's own clock, which counts from its boot: of two lists the later one counts.
    #[serde(default)]
    pub listed: Millis,
    /// The entry that the agent had been told of before it made this list; `None` where the agent does not say. What was
    /// started by then and is not listed has ended since, and what is listed was there after it.
    #[serde(default)]
    pub as_of: Option<LogIndex>,
}

/// One instance as its agent reports it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InstanceReport {
    /// The instance.
    pub id: InstanceId,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub state: InstanceState,
    /// Opted in to high availability.
    pub ha_enabled: bool,
    /// Recovery order, higher first.
    pub priority: u16,
    /// Memory that it needs, in MiB.
    pub memory_mib: u64,
    /// Its inactive definition (libvirt XML).
    pub definition: String,
}

/// One controller's verdict on one host, with the evidence in short.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vote {
    /// The host.
    pub host: HostId,
    /// The verdict.
    pub verdict: Verdict,
    /// What it rests on, for people and for `explain`.
    pub evidence: Evidence,
}

/// What one controller makes of its evidence on one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Fresh heartbeats of this boot.
    Alive {
        /// The boot that sends them.
        boot: BootId,
    },
    /// Silent on every channel for the whole threshold.
    Unreachable,
    /// Its BMC read Off twice in separate sessions while its heartbeats were missing.
    PoweredOff,
    /// The evidence does not carry a verdict.
    CannotTell(Uncertainty),
}

/// Why a controller cannot tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Uncertainty {
    /// Most hosts are silent to this controller: it is the one that is cut off.
    CutOff,
    /// The agent is silent and the host still answers ping or its health endpoint.
    AgentSilent,
    /// The host was never seen alive by this controller since it started.
    NeverSeen,
}

/// The evidence under a vote, in short. Ages are the voter's own, at the moment of the vote.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// Age of the last heartbeat.
    pub heartbeat_age: Option<Millis>,
    /// Age of the last answer to a ping.
    pub ping_age: Option<Millis>,
    /// Age of the last answer of the health endpoint.
    pub health_age: Option<Millis>,
    /// What the BMC said last.
    pub power: Option<Power>,
}

/// That a device was seen to hold its machine off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OffSeen {
    /// How often Off was read after the decision.
    pub reads: u8,
    /// In how many separate sessions.
    pub sessions: u8,
    /// Whether off had to be ordered; false when it was found off.
    pub ordered: bool,
}

/// One instance's way to its new host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Move {
    /// The instance.
    pub instance: InstanceId,
    /// Where it goes, or why it stays.
    pub to: Destination,
}

/// Where an instance goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Destination {
    /// To a host, in the boot that is admitted there; the agent refuses under any other.
    Host {
        /// The target.
        host: HostId,
        /// Its admitted boot.
        boot: BootId,
    },
    /// Nowhere yet; retried when a host returns.
    Parked(Parking),
}

/// Why an instance is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Parking {
    /// No healthy host in the segment.
    NoHost,
    /// No healthy host with enough memory.
    NoRoom,
    /// Every start was refused, `max_restart_attempts` times.
    Refused(Refusal),
    /// The segment's evacuation is switched off.
    EvacuationDisabled,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller(id) => id.fmt(f),
            Self::Agent(host) => write!(f, "agent {host}"),
            Self::Operator(name) => write!(f, "operator {name}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive { .. } => "alive",
            Self::Unreachable => "unreachable",
            Self::PoweredOff => "powered off",
            Self::CannotTell(Uncertainty::CutOff) => "cannot tell (this controller is cut off)",
            Self::CannotTell(Uncertainty::AgentSilent) => "cannot tell (agent silent, host answers)",
            Self::CannotTell(Uncertainty::NeverSeen) => "cannot tell (never seen alive)",
        })
    }
}

impl fmt::Display for Parking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost => f.pad("no healthy host in the segment"),
            Self::NoRoom => f.pad("no healthy host with enough memory"),
            Self::Refused(refusal) => write!(f, "every start was refused: {refusal}"),
            Self::EvacuationDisabled => f.pad("evacuation is switched off for the segment"),
        }
    }
}

impl Verdict {
    /// Returns whether this verdict counts towards a host being lost.
    pub const fn condemns(self) -> bool {
        match self {
            Self::Unreachable | Self::PoweredOff => true,
            Self::Alive { .. } | Self::CannotTell(_) => false,
        }
    }
}

impl Default for Segment {
    fn default() -> Self {
        Self {
            id: "default".parse().expect("'default' is a name"),
            failure_threshold: 3,
            check_interval: Millis(1000),
            evacuation_enabled: true,
            method: RecoveryMethod::Auto,
            minimum_healthy_percent: 50,
        }
    }
}
