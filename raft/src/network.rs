//! What replicas say to each other, and who carries it.
//!
//! [`Transport`] is the border: production carries requests over gRPC with mutual TLS ([`Grpc`]), a simulation
//! delivers, delays and loses them as it likes. The other end of both is [`Replica::handle`](crate::Replica::handle).

mod client;
mod connection;
mod name;
mod server;

use std::future::Future;
use std::time::Duration;

use quorumfence_proto::pb;

pub use client::{Credentials, CredentialsError, Grpc};
pub(crate) use connection::Connections;
pub use name::controller_in_certificate;
pub use server::{Receiver, raft_service};

use crate::{CallError, Peer};

/// Largest snapshot that is taken from a peer.
///
/// Ten thousand instances with the longest definitions fit, and a peer cannot exhaust the memory.
pub const SNAPSHOT_BYTES_MAX: u64 = 1 << 30;

/// Carries requests to other replicas.
pub trait Transport: Clone + Send + Sync + 'static {
    /// Calls a peer and returns its response.
    ///
    /// MUST return within the deadline. MUST return [`CallError::Unreachable`] or [`CallError::Refused`] only when the
    /// request was certainly not executed. MUST NOT let a request on one lane wait for one on another. May deliver
    /// late, twice or out of order: consensus and the machine bear it.
    fn call(
        &self,
        peer: &Peer,
        lane: Lane,
        request: Request,
        deadline: Duration,
    ) -> impl Future<Output = Result<Response, CallError>> + Send;
}

/// What must not wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Log entries, votes, proposals and read indexes.
    Log,
    /// Heartbeats: a long append must not make a leader look dead.
    Heartbeat,
    /// Snapshots.
    Snapshot,
}

/// What one replica asks another.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Append these entries, or just hear from the leader.
    AppendEntries(pb::AppendEntriesRequest),
    /// Vote for the sender.
    Vote(pb::VoteRequest),
    /// Say whether a vote would be granted, and change nothing.
    PreVote(pb::VoteRequest),
    /// Replace the state by this snapshot.
    InstallSnapshot(SnapshotTransfer),
    /// Become the leader.
    TransferLeader(pb::TransferLeaderRequest),
    /// Propose this change as the leader.
    Propose(pb::ProposeRequest),
    /// Confirm the leadership and name the entry that a linearizable read must wait for.
    ReadIndex(pb::ReadIndexRequest),
}

/// A whole snapshot under way.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotTransfer {
    /// The leader that sends it.
    pub vote: pb::RaftVote,
    /// What the snapshot is of.
    pub header: pb::SnapshotHeader,
    /// Its rows, as length-delimited records.
    pub data: Vec<u8>,
}

/// What a replica answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// To [`Request::AppendEntries`].
    AppendEntries(pb::AppendEntriesReply),
    /// To [`Request::Vote`].
    Vote(pb::VoteReply),
    /// To [`Request::PreVote`].
    PreVote(pb::VoteReply),
    /// To [`Request::InstallSnapshot`].
    InstallSnapshot(pb::SnapshotReply),
    /// To [`Request::TransferLeader`].
    TransferLeader(pb::TransferLeaderReply),
    /// To [`Request::Propose`]: what the machine answered.
    Propose(pb::ProposeReply),
    /// To [`Request::ReadIndex`].
    ReadIndex(pb::ReadIndexReply),
    /// To [`Request::Propose`] and [`Request::ReadIndex`]: nothing was done, this peer may lead.
    NotLeader(Option<Peer>),
}
