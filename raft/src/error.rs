//! What can go wrong, one enum per operation.
//!
//! The first cut is always the same: certainly not executed, or unknown.

use std::collections::BTreeSet;

use quorumfence_machine::{ControllerId, LogIndex, Rejected};
use quorumfence_storage as storage;

use crate::{CodecError, Peer};

/// Why a replica could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The options contradict each other.
    #[error("the options of consensus contradict each other: {0}")]
    Options(String),
    /// The database is not this node's, or not there.
    #[error("the database cannot be opened")]
    Store(#[from] storage::OpenError),
    /// The database cannot be read.
    #[error("the database cannot be read")]
    Storage(#[from] storage::Error),
    /// What the database holds is not understood.
    #[error("the database holds something that this release does not understand")]
    Codec(#[from] CodecError),
    /// An installation of a snapshot was cut and the snapshot is gone.
    #[error(
        "an installation of a snapshot was interrupted and no snapshot is left to repeat it from; \
         remove this node from the cluster and join it again under a new node id"
    )]
    NoSnapshot,
    /// The consensus did not start.
    #[error("consensus did not start: {0}")]
    Start(String),
}

/// Why the first node could not found the group.
#[derive(Debug, thiserror::Error)]
pub enum InitializeError {
    /// The node is in a group.
    #[error("this node belongs to a cluster already")]
    Initialized,
    /// The replica stopped.
    #[error("the replica stopped: {0}")]
    Stopped(String),
}

/// Why a proposal has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It is in the log, and the machine refused it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Certainly not executed: no leader was found in time. The peer is the last known leader.
    #[error("the cluster has no leader that this controller can reach{}", hint(.0.as_ref()))]
    NotLeader(Option<Peer>),
    /// It may or may not be executed, now or later. Ask again with the same request id.
    #[error("the outcome is unknown: {0}; look at the state before asking again")]
    Unknown(String),
    /// Certainly not executed: this replica stopped.
    #[error("this replica stopped")]
    Stopped,
}

/// Why a linearizable read is not possible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader was found in time. The peer is the last known leader.
    #[error("the cluster has no leader that this controller can reach{}", hint(.0.as_ref()))]
    NoLeader(Option<Peer>),
    /// No quorum confirmed the leader in time, or this replica is too far behind.
    #[error("no quorum confirmed the read in time")]
    TimedOut,
    /// This replica stopped.
    #[error("this replica stopped")]
    Stopped,
}

/// Why the members were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Only the leader changes the members.
    #[error("this controller does not lead{}", hint(.0.as_ref()))]
    NotLeader(Option<Peer>),
    /// No learner has this id.
    #[error("{0} is not a member; it must join before it can vote")]
    UnknownController(ControllerId),
    /// Its voice would count before its log does.
    #[error("{id} is {lag} entries behind; it can vote once it has caught up")]
    NotCaughtUp {
        /// The learner.
        id: ControllerId,
        /// Entries that it lacks.
        lag: u64,
    },
    /// Its vote would be missing from the first decision on.
    #[error("{0} does not answer, so its vote would only be missing; start it, or look at its network")]
    Silent(ControllerId),
    /// The id is taken by another address.
    #[error("{id} is a member at another address, {address}")]
    OtherAddress {
        /// The member.
        id: ControllerId,
        /// Where it is.
        address: String,
    },
    /// The leader would lose its own voice.
    #[error("{0} leads; hand the leadership over first")]
    Leads(ControllerId),
    /// Without it nobody could decide anything.
    #[error("{0} is the only voter; add another one first")]
    LastVoter(ControllerId),
    /// Without it those who still vote would have no majority that answers.
    #[error(
        "without {id} no majority of the voters would answer, since {} is silent; bring it back, or take its vote first",
        listed(.silent)
    )]
    LosesQuorum {
        /// The voter that is to leave.
        id: ControllerId,
        /// The other voters that do not answer.
        silent: BTreeSet<ControllerId>,
    },
    /// Whoever votes does not leave.
    #[error("{0} votes; demote it first")]
    StillVotes(ControllerId),
    /// Another change is not finished.
    #[error("another change of the members is not finished; ask again when it is")]
    InProgress,
    /// It may or may not be done.
    #[error("the outcome is unknown: {0}; look at the members before asking again")]
    Unknown(String),
    /// This replica stopped.
    #[error("this replica stopped")]
    Stopped,
}

/// Why a peer's request was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// The request names another sender than the certificate.
    #[error("the certificate says {certificate}, the request says {claimed}")]
    Impostor {
        /// Who the certificate says it is.
        certificate: ControllerId,
        /// Who the request says it is.
        claimed: ControllerId,
    },
    /// The sender does not belong to the group, as far as this node's log tells.
    #[error("{0} is not a member")]
    NotAMember(ControllerId),
    /// The request is not understood.
    #[error("the request is not understood: {0}")]
    Malformed(String),
    /// The work was begun and its outcome is not known.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// This replica stopped.
    #[error("this replica stopped")]
    Stopped,
}

/// Why a call of a peer has no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Certainly not executed: no connection.
    #[error("no connection: {0}")]
    Unreachable(String),
    /// Certainly not executed: the peer refused it.
    #[error("refused: {0}")]
    Refused(String),
    /// May or may not be executed: no answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// May or may not be executed: the connection or the peer failed under way.
    #[error("failed under way: {0}")]
    Broken(String),
}

impl From<HandleError> for CallError {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Impostor { .. } | HandleError::NotAMember(_) | HandleError::Malformed(_) => {
                Self::Refused(error.to_string())
            }
            HandleError::Unknown(why) => Self::Broken(why),
            // The replica stopped before it began.
            HandleError::Stopped => Self::Unreachable(error.to_string()),
        }
    }
}

fn hint(leader: Option<&Peer>) -> String {
    leader.map_or_else(String::new, |leader| format!("; the last known leader is {leader}"))
}

fn listed(controllers: &BTreeSet<ControllerId>) -> String {
    controllers.iter().map(ControllerId::to_string).collect::<Vec<_>>().join(" and ")
}

/// The place of a change in the log, and the answer of the machine.
pub(crate) type Proposed = Result<(LogIndex, quorumfence_machine::Reply), ProposeError>;
