//! Between openraft's requests and responses and the messages of the wire.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorumfence_proto::pb;

use crate::Runtime;
use crate::codec::{CodecError, entry_from_pb, log_id_from_pb, log_id_to_pb, required, vote_from_pb, vote_to_pb};
use crate::network::Response;
use crate::types::TypeConfig;

pub(crate) fn append_request<R: Runtime>(
    request: pb::AppendEntriesRequest,
) -> Result<AppendEntriesRequest<TypeConfig<R>>, CodecError> {
    Ok(AppendEntriesRequest {
        vote: vote_from_pb(&required(request.vote, "AppendEntriesRequest", "vote")?),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_from_pb),
        entries: request.entries.into_iter().map(entry_from_pb).collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.as_ref().map(log_id_from_pb),
    })
}

pub(crate) fn append_reply<R: Runtime>(response: &AppendEntriesResponse<TypeConfig<R>>) -> pb::AppendEntriesReply {
    use pb::append_entries_reply::{Kind, Partial};
    let kind = match response {
        AppendEntriesResponse::Success => Kind::Success(pb::Unit {}),
        AppendEntriesResponse::PartialSuccess(last) => {
            Kind::PartialSuccess(Partial { matching: last.as_ref().map(log_id_to_pb) })
        }
        AppendEntriesResponse::Conflict => Kind::Conflict(pb::Unit {}),
        AppendEntriesResponse::HigherVote(vote) => Kind::HigherVote(vote_to_pb(vote)),
    };
    pb::AppendEntriesReply { kind: Some(kind) }
}

pub(crate) fn append_response<R: Runtime>(
    response: Response,
) -> Result<AppendEntriesResponse<TypeConfig<R>>, CodecError> {
    use pb::append_entries_reply::Kind;
    let Response::AppendEntries(reply) = response else { return Err(unexpected("AppendEntriesReply")) };
    Ok(match required(reply.kind, "AppendEntriesReply", "kind")? {
        Kind::Success(pb::Unit {}) => AppendEntriesResponse::Success,
        Kind::PartialSuccess(partial) => {
            AppendEntriesResponse::PartialSuccess(partial.matching.as_ref().map(log_id_from_pb))
        }
        Kind::Conflict(pb::Unit {}) => AppendEntriesResponse::Conflict,
        Kind::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_from_pb(&vote)),
    })
}

pub(crate) fn vote_request_to_pb<R: Runtime>(request: &VoteRequest<TypeConfig<R>>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to_pb(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to_pb),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(crate) fn vote_request<R: Runtime>(request: &pb::VoteRequest) -> Result<VoteRequest<TypeConfig<R>>, CodecError> {
    let vote = vote_from_pb(&required(request.vote, "VoteRequest", "vote")?);
    let mut decoded = VoteRequest::new(vote, request.last_log_id.as_ref().map(log_id_from_pb));
    decoded.leadership_transfer = request.leadership_transfer;
    Ok(decoded)
}

pub(crate) fn vote_reply<R: Runtime>(response: &VoteResponse<TypeConfig<R>>) -> pb::VoteReply {
    pb::VoteReply {
        vote: Some(vote_to_pb(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_to_pb),
    }
}

pub(crate) fn vote_response<R: Runtime>(response: Response) -> Result<VoteResponse<TypeConfig<R>>, CodecError> {
    let (Response::Vote(reply) | Response::PreVote(reply)) = response else { return Err(unexpected("VoteReply")) };
    let vote = vote_from_pb(&required(reply.vote, "VoteReply", "vote")?);
    Ok(VoteResponse::new(vote, reply.last_log_id.as_ref().map(log_id_from_pb), reply.granted))
}

pub(crate) fn snapshot_response<R: Runtime>(response: Response) -> Result<SnapshotResponse<TypeConfig<R>>, CodecError> {
    let Response::InstallSnapshot(reply) = response else { return Err(unexpected("SnapshotReply")) };
    Ok(SnapshotResponse::new(vote_from_pb(&required(reply.vote, "SnapshotReply", "vote")?)))
}

pub(crate) fn transfer_to_pb<R: Runtime>(request: &TransferLeaderRequest<TypeConfig<R>>) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        from_leader: Some(vote_to_pb(request.from_leader())),
        to_node_id: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_to_pb),
    }
}

pub(crate) fn transfer_request<R: Runtime>(
    request: &pb::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig<R>>, CodecError> {
    let from = vote_from_pb(&required(request.from_leader, "TransferLeaderRequest", "from_leader")?);
    Ok(TransferLeaderRequest::new(from, request.to_node_id, request.last_log_id.as_ref().map(log_id_from_pb)))
}

pub(crate) fn transfer_reply<R: Runtime>(response: &TransferLeaderResponse<TypeConfig<R>>) -> pb::TransferLeaderReply {
    use pb::transfer_leader_reply::{Kind, LogNotFlushed, VoteChanged};
    let kind = match response {
        Ok(()) => Kind::Accepted(pb::Unit {}),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            Kind::VoteChanged(VoteChanged { expected: Some(vote_to_pb(expected)), actual: Some(vote_to_pb(actual)) })
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Kind::LogNotFlushed(LogNotFlushed {
            expected: expected.as_ref().map(log_id_to_pb),
            actual: actual.as_ref().map(log_id_to_pb),
        }),
    };
    pb::TransferLeaderReply { kind: Some(kind) }
}

pub(crate) fn transfer_response<R: Runtime>(
    response: Response,
) -> Result<TransferLeaderResponse<TypeConfig<R>>, CodecError> {
    use pb::transfer_leader_reply::Kind;
    let Response::TransferLeader(reply) = response else { return Err(unexpected("TransferLeaderReply")) };
    Ok(match required(reply.kind, "TransferLeaderReply", "kind")? {
        Kind::Accepted(pb::Unit {}) => Ok(()),
        Kind::VoteChanged(changed) => Err(TransferLeaderError::VoteChanged {
            expected: vote_from_pb(&required(changed.expected, "VoteChanged", "expected")?),
            actual: vote_from_pb(&required(changed.actual, "VoteChanged", "actual")?),
        }),
        Kind::LogNotFlushed(logs) => Err(TransferLeaderError::LogNotFlushed {
            expected: logs.expected.as_ref().map(log_id_from_pb),
            actual: logs.actual.as_ref().map(log_id_from_pb),
        }),
    })
}

fn unexpected(message: &'static str) -> CodecError {
    CodecError::Missing { message: "the response", field: message }
}
