//! The answering end: the gRPC service that a node adds to its port.

use std::fmt;

use quorumfence_machine::ControllerId;
use quorumfence_proto::pb::raft_server::{Raft, RaftServer};
use quorumfence_proto::{RAFT_MESSAGE_BYTES_MAX, pb};
use tonic::{Code, Status, Streaming};

use super::{Request, Response, SNAPSHOT_BYTES_MAX, SnapshotTransfer, controller_in_certificate};
use crate::codec::peer_to_pb;
use crate::{Environment, HandleError, Replica};

/// Returns the service that hands requests of other controllers to the replica.
///
/// The connection must be TLS with a client certificate that was checked against the cluster's CA; a peer without a
/// controller's certificate is refused at every method.
pub fn raft_service<E: Environment>(replica: Replica<E>) -> RaftServer<Receiver<E>> {
    RaftServer::new(Receiver { replica })
        .max_decoding_message_size(RAFT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(RAFT_MESSAGE_BYTES_MAX)
}

/// Takes requests off the wire. Made by [`raft_service`].
pub struct Receiver<E: Environment> {
    replica: Replica<E>,
}

impl<E: Environment> fmt::Debug for Receiver<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("replica", &self.replica).finish()
    }
}

impl<E: Environment> Receiver<E> {
    async fn handle(&self, from: ControllerId, request: Request) -> Result<Response, Status> {
        match self.replica.handle(from, request).await {
            Ok(Response::NotLeader(leader)) => {
                Err(quorumfence_proto::status::not_leader(leader.as_ref().map(peer_to_pb)))
            }
            Ok(response) => Ok(response),
            Err(error) => Err(status(&error)),
        }
    }
}

const ANOTHER_KIND: &str = "the replica's answer is of another kind than the request";

macro_rules! answer {
    ($self:ident, $request:ident, $arm:ident) => {{
        let from = sender(&$request)?;
        let Response::$arm(reply) = $self.handle(from, Request::$arm($request.into_inner())).await? else {
            return Err(Status::internal(ANOTHER_KIND));
        };
        Ok(tonic::Response::new(reply))
    }};
}

#[tonic::async_trait]
impl<E: Environment> Raft for Receiver<E> {
    async fn append_entries(
        &self,
        request: tonic::Request<pb::AppendEntriesRequest>,
    ) -> Result<tonic::Response<pb::AppendEntriesReply>, Status> {
        answer!(self, request, AppendEntries)
    }

    async fn vote(&self, request: tonic::Request<pb::VoteRequest>) -> Result<tonic::Response<pb::VoteReply>, Status> {
        answer!(self, request, Vote)
    }

    async fn pre_vote(
        &self,
        request: tonic::Request<pb::VoteRequest>,
    ) -> Result<tonic::Response<pb::VoteReply>, Status> {
        answer!(self, request, PreVote)
    }

    async fn install_snapshot(
        &self,
        request: tonic::Request<Streaming<pb::SnapshotChunk>>,
    ) -> Result<tonic::Response<pb::SnapshotReply>, Status> {
        let from = sender(&request)?;
        let transfer = receive(request.into_inner()).await?;
        let Response::InstallSnapshot(reply) = self.handle(from, Request::InstallSnapshot(transfer)).await? else {
            return Err(Status::internal(ANOTHER_KIND));
        };
        Ok(tonic::Response::new(reply))
    }

    async fn transfer_leader(
        &self,
        request: tonic::Request<pb::TransferLeaderRequest>,
    ) -> Result<tonic::Response<pb::TransferLeaderReply>, Status> {
        answer!(self, request, TransferLeader)
    }

    async fn propose(
        &self,
        request: tonic::Request<pb::ProposeRequest>,
    ) -> Result<tonic::Response<pb::ProposeReply>, Status> {
        answer!(self, request, Propose)
    }

    async fn read_index(
        &self,
        request: tonic::Request<pb::ReadIndexRequest>,
    ) -> Result<tonic::Response<pb::ReadIndexReply>, Status> {
        answer!(self, request, ReadIndex)
    }
}

fn sender<T>(request: &tonic::Request<T>) -> Result<ControllerId, Status> {
    let certificates = request.peer_certs().ok_or_else(|| Status::unauthenticated("no certificate was shown"))?;
    let own = certificates.first().ok_or_else(|| Status::unauthenticated("no certificate was shown"))?;
    controller_in_certificate(own).ok_or_else(|| Status::permission_denied("only controllers may call this"))
}

async fn receive(mut chunks: Streaming<pb::SnapshotChunk>) -> Result<SnapshotTransfer, Status> {
    use pb::snapshot_chunk::Kind;
    let malformed = |why: &str| Status::invalid_argument(format!("the snapshot is malformed: {why}"));
    let Some(Kind::Begin(begin)) = chunks.message().await?.and_then(|chunk| chunk.kind) else {
        return Err(malformed("it does not start with its beginning"));
    };
    if begin.bytes > SNAPSHOT_BYTES_MAX {
        return Err(malformed("it is too large"));
    }
    let mut data = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        let Some(Kind::Data(bytes)) = chunk.kind else { return Err(malformed("a chunk has no data")) };
        if data.len() as u64 + bytes.len() as u64 > begin.bytes {
            return Err(malformed("it is longer than announced"));
        }
        data.extend_from_slice(&bytes);
    }
    if (data.len() as u64) < begin.bytes {
        return Err(malformed("it is shorter than announced"));
    }
    let vote = begin.vote.ok_or_else(|| malformed("it names no leader"))?;
    let header = begin.header.ok_or_else(|| malformed("it has no header"))?;
    Ok(SnapshotTransfer { vote, header, data })
}

fn status(error: &HandleError) -> Status {
    let code = match error {
        HandleError::Impostor { .. } | HandleError::NotAMember(_) => Code::PermissionDenied,
        HandleError::Malformed(_) => Code::InvalidArgument,
        HandleError::Unknown(_) => Code::Unknown,
        HandleError::Stopped => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}
