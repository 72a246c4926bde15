//! The answering side: what peers ask of this replica.

use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, Fatal, ForwardToLeader, LinearizableReadError, RaftError};
use quorumfence_machine::{Actor, Change, Command, ControllerId, RequestId};
use quorumfence_proto::{convert, pb};

use super::Replica;
use crate::codec::{log_id_from_pb, log_id_to_pb, snapshot, vote_from_pb, vote_to_pb};
use crate::types::{LogId, Proposal, Snapshot, TypeConfig, Vote};
use crate::{
    Clock, CodecError, Environment, HandleError, Peer, Point, Request, Response, Runtime, SnapshotTransfer, wire,
};

/// What a request of consensus says about its sender.
struct Claim {
    sender: ControllerId,
    standing: Standing,
}

/// Why a node that our log does not know may still speak: our log may be the old one.
enum Standing {
    /// It says that it was elected with this vote.
    Leader(Vote),
    /// It wants to be elected with a log that ends here.
    Candidate(Option<LogId>),
}

impl<E: Environment> Replica<E> {
    /// Answers a peer. `from` is who the peer's certificate says it is; the request must not say otherwise.
    pub async fn handle(&self, from: ControllerId, request: Request) -> Result<Response, HandleError> {
        if self.stopped() {
            return Err(HandleError::Stopped);
        }
        match claim(&request)? {
            Some(claim) if claim.sender != from => {
                return Err(HandleError::Impostor { certificate: from, claimed: claim.sender });
            }
            Some(claim) if !self.may_speak(from, &claim.standing) => return Err(HandleError::NotAMember(from)),
            None if !self.is_member(from) => return Err(HandleError::NotAMember(from)),
            Some(_) | None => {}
        }
        self.serve(request).await
    }

    /// Answers a request whose sender was checked, or that is this replica's own.
    pub(super) async fn serve(&self, request: Request) -> Result<Response, HandleError> {
        let raft = &self.inner.raft;
        if let Some(point) = before(&request) {
            E::pass(point).await;
        }
        Ok(match request {
            Request::AppendEntries(message) => {
                let request = wire::append_request(message).map_err(malformed)?;
                let reply = raft.append_entries(request).await.map_err(unwrap)?;
                E::pass(Point::AppendBeforeReply).await;
                Response::AppendEntries(wire::append_reply(&reply))
            }
            Request::Vote(message) => {
                let request = wire::vote_request(&message).map_err(malformed)?;
                let reply = raft.vote(request).await.map_err(unwrap)?;
                E::pass(Point::VoteBeforeReply).await;
                Response::Vote(wire::vote_reply(&reply))
            }
            Request::PreVote(message) => {
                let request = wire::vote_request(&message).map_err(malformed)?;
                Response::PreVote(wire::vote_reply(&raft.pre_vote(request).await.map_err(unwrap)?))
            }
            Request::InstallSnapshot(SnapshotTransfer { vote, header, data }) => {
                // Read here, where a damaged snapshot is the sender's fault and does not stop this replica.
                let (meta, _) = snapshot::read(header, &data).map_err(malformed)?;
                let sender = vote_from_pb(&vote);
                if let Some(last) = meta.last_log_id
                    && self.has_entry(sender, last).await?
                {
                    self.sync(last).await?;
                    return Ok(Response::InstallSnapshot(pb::SnapshotReply { vote: Some(vote) }));
                }
                let snapshot = Snapshot { meta, snapshot: data };
                let response = raft.install_full_snapshot(sender, snapshot).await.map_err(ended)?;
                E::pass(Point::InstallBeforeReply).await;
                Response::InstallSnapshot(pb::SnapshotReply { vote: Some(vote_to_pb(&response.vote)) })
            }
            Request::TransferLeader(message) => {
                let request = wire::transfer_request(&message).map_err(malformed)?;
                let response = raft.handle_transfer_leader(request).await.map_err(ended)?;
                Response::TransferLeader(wire::transfer_reply(&response))
            }
            Request::Propose(message) => self.serve_propose(message).await?,
            Request::ReadIndex(pb::ReadIndexRequest {}) => self.serve_read_index().await?,
        })
    }

    /// Returns whether this replica follows the sender, and its log reaches the snapshot's end already.
    ///
    /// A snapshot on its way may be overtaken by the entries that it holds, which the log's lane carries. To install it
    /// then would gain nothing, and openraft 0.10.0-alpha.37 takes the step back for a broken invariant and stops
    /// (found by simulation).
    async fn has_entry(&self, sender: Vote, last: LogId) -> Result<bool, HandleError> {
        let raft = &self.inner.raft;
        raft.with_raft_state(move |state| *state.vote_ref() == sender && state.log_ids.get(last.index) == Some(last))
            .await
            .map_err(ended)
    }

    /// Returns once a crash leaves the log up to this entry: the answer to a snapshot says so, and the sender counts on it
    /// (found by simulation).
    async fn sync(&self, last: LogId) -> Result<(), HandleError> {
        match self.inner.durable.holds(&last).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(HandleError::Unknown("the entries that overtook the snapshot are not written yet".into())),
            Err(error) => {
                Err(HandleError::Unknown(format!("the entries that overtook the snapshot are lost: {error}")))
            }
        }
    }

    async fn serve_propose(&self, message: pb::ProposeRequest) -> Result<Response, HandleError> {
        let (by, request, change) = proposal(message).map_err(malformed)?;
        // Before it has applied what earlier leaders committed, a leader does not know the cluster's clock.
        let Some(term) = self.inner.leadership.borrow().lead_term else { return Ok(self.not_leader()) };
        let clock = self.inner.cluster_clock.read(term, &self.inner.shared);
        let command = Command { by, wall: self.inner.clock.wall(), clock, request, change };
        E::pass(Point::ProposeBeforeWrite).await;
        let write = self.inner.raft.client_write(Proposal(command));
        let written = E::Runtime::timeout(self.inner.options.call_deadline.into(), write)
            .await
            .map_err(|_| HandleError::Unknown("the entry was not applied in time".into()))?;
        E::pass(Point::ProposeAfterWrite).await;
        match written {
            Ok(written) => Ok(Response::Propose(pb::ProposeReply {
                log_id: Some(log_id_to_pb(&written.log_id)),
                answered: Some(written.data.reply.into()),
            })),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => Ok(forwarded(forward)),
            Err(RaftError::APIError(error)) => Err(HandleError::Unknown(error.to_string())),
            Err(RaftError::Fatal(fatal)) => Err(HandleError::Unknown(fatal.to_string())),
        }
    }

    async fn serve_read_index(&self) -> Result<Response, HandleError> {
        let read = self.inner.raft.get_read_log_id(ReadPolicy::ReadIndex);
        let read = E::Runtime::timeout(self.inner.options.call_deadline.into(), read)
            .await
            .map_err(|_| HandleError::Unknown("no quorum answered in time".into()))?;
        match read {
            Ok((read, _)) => Ok(Response::ReadIndex(pb::ReadIndexReply { log_id: Some(log_id_to_pb(read.log_id())) })),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => Ok(forwarded(forward)),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(error))) => {
                Err(HandleError::Unknown(error.to_string()))
            }
            Err(RaftError::Fatal(fatal)) => Err(ended(fatal)),
        }
    }

    fn not_leader(&self) -> Response {
        let leader = self.inner.leadership.borrow().leader.clone();
        Response::NotLeader(leader.filter(|leader| leader.id != self.inner.me))
    }

    fn is_member(&self, id: ControllerId) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_node(&id.0).is_some()
    }

    /// A node without members takes anybody of its cluster: it waits to be added. A member takes members, and those
    /// that entries which it lacks may have admitted; refusing them could leave the group without a leader for ever.
    fn may_speak(&self, id: ControllerId, standing: &Standing) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        if membership.nodes().next().is_none() || membership.get_node(&id.0).is_some() {
            return true;
        }
        match standing {
            Standing::Leader(vote) => vote.committed && vote.leader_id.term >= metrics.current_term,
            Standing::Candidate(last) => *last > metrics.last_applied,
        }
    }
}

/// Returns the stall point at which a request of consensus arrives.
fn before(request: &Request) -> Option<Point> {
    match request {
        Request::AppendEntries(_) => Some(Point::AppendBeforeHandle),
        Request::Vote(_) => Some(Point::VoteBeforeHandle),
        Request::PreVote(_) => Some(Point::PreVoteBeforeHandle),
        Request::InstallSnapshot(_) => Some(Point::InstallBeforeHandle),
        Request::TransferLeader(_) => Some(Point::TransferBeforeHandle),
        Request::Propose(_) | Request::ReadIndex(_) => None,
    }
}

fn claim(request: &Request) -> Result<Option<Claim>, HandleError> {
    let missing = |message| malformed(CodecError::Missing { message, field: "vote" });
    let leader = |vote: &pb::RaftVote| Claim {
        sender: ControllerId(vote.node_id),
        standing: Standing::Leader(vote_from_pb(vote)),
    };
    Ok(match request {
        Request::AppendEntries(message) => {
            Some(leader(message.vote.as_ref().ok_or_else(|| missing("AppendEntriesRequest"))?))
        }
        Request::Vote(message) | Request::PreVote(message) => {
            let vote = message.vote.as_ref().ok_or_else(|| missing("VoteRequest"))?;
            let standing = Standing::Candidate(message.last_log_id.as_ref().map(log_id_from_pb));
            Some(Claim { sender: ControllerId(vote.node_id), standing })
        }
        Request::InstallSnapshot(transfer) => Some(leader(&transfer.vote)),
        Request::TransferLeader(message) => {
            Some(leader(message.from_leader.as_ref().ok_or_else(|| missing("TransferLeaderRequest"))?))
        }
        Request::Propose(_) | Request::ReadIndex(_) => None,
    })
}

fn proposal(message: pb::ProposeRequest) -> Result<(Actor, Option<RequestId>, Change), convert::Error> {
    let request = match message.request {
        Some(bytes) => Some(RequestId(convert::uuid(bytes, "request")?)),
        None => None,
    };
    Ok((convert::required(message.by, "by")?, request, convert::required(message.change, "change")?))
}

fn forwarded<R: Runtime>(forward: ForwardToLeader<TypeConfig<R>>) -> Response {
    let peer = |(id, node): (u64, openraft::impls::BasicNode)| Peer { id: ControllerId(id), address: node.addr };
    Response::NotLeader(forward.leader_id.zip(forward.leader_node).map(peer))
}

fn malformed(error: impl std::error::Error) -> HandleError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    HandleError::Malformed(text)
}

fn unwrap<R: Runtime>(error: RaftError<TypeConfig<R>>) -> HandleError {
    ended(error.unwrap_fatal())
}

/// Consensus messages may be repeated, so a stopped replica is all that their sender needs to know.
fn ended<R: Runtime>(_fatal: Fatal<TypeConfig<R>>) -> HandleError {
    HandleError::Stopped
}
