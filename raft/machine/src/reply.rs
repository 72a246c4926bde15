//! What the proposer of a command is told.

use serde::{Deserialize, Serialize};

use crate::{ControllerId, Event, HostId, InstanceId, JoinTokenId, LogIndex, Reason, SegmentId, Token};

/// What applying one command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The answer to whoever asked.
    pub reply: Result<Reply, Rejected>,
    /// What changed.
    pub events: Vec<Event>,
}

/// The answer to an accepted command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// A controller id was allocated.
    Controller(ControllerId),
    /// A fence was decided.
    Fence(Token),
    /// A permit was granted; its name is the entry's index.
    Permit(LogIndex),
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum Rejected {
    /// The log already has a cluster.
    #[error("the cluster exists already")]
    ClusterExists,
    /// The log has no cluster.
    #[error("the cluster does not exist yet; run 'quorumfence cluster init' first")]
    NoCluster,
    /// No such host.
    #[error("host {0} is not known; 'quorumfence host list' shows the known ones")]
    UnknownHost(HostId),
    /// No such segment.
    #[error("segment {0} is not known; create it with 'quorumfence segment create {0}'")]
    UnknownSegment(SegmentId),
    /// The segment exists.
    #[error("segment {0} exists already")]
    SegmentExists(SegmentId),
    /// A setting or field breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The join token is unknown, expired, used up, for another role, or its secret is wrong. One answer for all.
    #[error(
        "join token {0} is not valid: unknown, expired, used up, or for another role; create one with 'quorumfence token create'"
    )]
    JoinToken(JoinTokenId),
    /// A join token with this id exists.
    #[error("join token {0} exists already")]
    JoinTokenExists(JoinTokenId),
    /// Another agent has this host's name.
    #[error(
        "host {0} has an agent already; two agents with one name would fence each other's host. Choose another name"
    )]
    HostTaken(HostId),
    /// The fencing device is enrolled for another host.
    #[error(
        "the device {address} is enrolled for host {host} already; two hosts with one BMC would power off the wrong one"
    )]
    DeviceTaken {
        /// The device.
        address: String,
        /// Who has it.
        host: HostId,
    },
    /// The device's machine is not the agent's machine.
    #[error(
        "the device {address} says that it belongs to another machine than the agent of host {host} runs on; check the BMC address"
    )]
    WrongMachine {
        /// The device.
        address: String,
        /// The host.
        host: HostId,
    },
    /// The host is alive to at least one controller, or not lost.
    #[error(
        "host {0} is not lost: the quorum sees no reason to call it dead. 'quorumfence explain host {0}' shows who hears it; if it must not run, switch it off by hand and wait until 'quorumfence host show {0}' says lost"
    )]
    HostLives(HostId),
    /// The voter is not a voter.
    #[error("{0} is not a voter")]
    NotAVoter(ControllerId),
    /// The parent entry is not there or not the right one.
    #[error("the entry rests on {0}, which does not carry it")]
    NoParent(LogIndex),
    /// A brake holds.
    #[error("held back: {0}")]
    Held(Reason),
    /// The boot is not the one that the host runs.
    #[error("the boot is not the one that host {0} reports")]
    WrongBoot(HostId),
    /// No such instance or no such assignment.
    #[error("instance {0} has no such assignment")]
    NoAssignment(InstanceId),
}
