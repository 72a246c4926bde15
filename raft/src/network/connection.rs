//! Openraft's network on our transport.

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::BasicNode;
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{RaftNetworkFactory, RaftNetworkV2};
use openraft_rt::Select2;
use prost::Message;
use quorumfence_machine::ControllerId;
use quorumfence_proto::{RAFT_MESSAGE_BYTES_MAX, pb};

use super::{Lane, Request, Response, SnapshotTransfer, Transport};
use crate::codec::{CodecError, entry_to_pb, log_id_to_pb, snapshot, vote_to_pb};
use crate::types::{LogId, Snapshot, TypeConfig, Vote};
use crate::wire;
use crate::{CallError, Environment, Options, Peer, Runtime};

/// Entries in one request: what is left of a message for them.
const ENTRIES_BYTES_MAX: usize = RAFT_MESSAGE_BYTES_MAX - (1 << 16);

/// Makes connections to peers, one per lane.
pub(crate) struct Connections<E: Environment> {
    pub(crate) transport: E::Transport,
    pub(crate) options: Arc<Options>,
}

impl<E: Environment> Connections<E> {
    fn connect(&self, target: u64, node: &BasicNode, lane: Lane) -> Connection<E> {
        let peer = Peer { id: ControllerId(target), address: node.addr.clone() };
        Connection { transport: self.transport.clone(), options: Arc::clone(&self.options), peer, lane }
    }
}

impl<E: Environment> RaftNetworkFactory<TypeConfig<E::Runtime>> for Connections<E> {
    type Network = Connection<E>;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Connection<E> {
        self.connect(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &BasicNode) -> Connection<E> {
        self.connect(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &BasicNode) -> Connection<E> {
        self.connect(target, node, Lane::Snapshot)
    }
}

/// One lane to one peer.
pub(crate) struct Connection<E: Environment> {
    transport: E::Transport,
    options: Arc<Options>,
    peer: Peer,
    lane: Lane,
}

type Config<E> = TypeConfig<<E as Environment>::Runtime>;

impl<E: Environment> Connection<E> {
    async fn call<T>(
        &self,
        request: Request,
        deadline: Duration,
        read: impl FnOnce(Response) -> Result<T, CodecError> + Send,
    ) -> Result<T, RPCError<Config<E>>> {
        let response = self.transport.call(&self.peer, self.lane, request, deadline).await.map_err(rpc_error)?;
        read(response).map_err(|error| RPCError::Network(NetworkError::new(&error)))
    }
}

impl<E: Environment> RaftNetworkV2<Config<E>> for Connection<E> {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Config<E>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Config<E>>, RPCError<Config<E>>> {
        let (request, cut_after) = fit(&rpc);
        let deadline = match self.lane {
            Lane::Log => self.options.append_deadline().into(),
            Lane::Heartbeat | Lane::Snapshot => option.soft_ttl(),
        };
        let response = self.call(Request::AppendEntries(request), deadline, wire::append_response).await?;
        Ok(match (response, cut_after) {
            (AppendEntriesResponse::Success, Some(last)) => AppendEntriesResponse::PartialSuccess(Some(last)),
            (response, _) => response,
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Config<E>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config<E>>, RPCError<Config<E>>> {
        self.call(Request::Vote(wire::vote_request_to_pb(&rpc)), option.soft_ttl(), wire::vote_response).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Config<E>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Config<E>>, RPCError<Config<E>>> {
        self.call(Request::PreVote(wire::vote_request_to_pb(&rpc)), option.soft_ttl(), wire::vote_response).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Config<E>>, StreamingError<Config<E>>> {
        let records =
            snapshot::count(&snapshot.snapshot).map_err(|error| StreamingError::Network(NetworkError::new(&error)))?;
        let request = Request::InstallSnapshot(SnapshotTransfer {
            vote: vote_to_pb(&vote),
            header: snapshot::header(&snapshot.meta, records),
            data: snapshot.snapshot,
        });
        let call = self.call(request, option.soft_ttl(), wire::snapshot_response);
        match E::Runtime::select2(call, cancel).await {
            Select2::First(response) => Ok(response?),
            Select2::Second(closed) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Config<E>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Config<E>>, RPCError<Config<E>>> {
        let request = Request::TransferLeader(wire::transfer_to_pb(&rpc));
        self.call(request, option.soft_ttl(), wire::transfer_response).await
    }
}

/// Returns as many of the entries as one message takes, and the last of them when some stay behind.
fn fit<R: Runtime>(rpc: &AppendEntriesRequest<TypeConfig<R>>) -> (pb::AppendEntriesRequest, Option<LogId>) {
    let mut entries = Vec::with_capacity(rpc.entries.len());
    let mut bytes = 0;
    let mut cut_after = None;
    for entry in &rpc.entries {
        let encoded = entry_to_pb(entry);
        // Tag and length take at most eight bytes.
        bytes += encoded.encoded_len() + 8;
        if bytes > ENTRIES_BYTES_MAX && !entries.is_empty() {
            break;
        }
        entries.push(encoded);
        cut_after = Some(entry.log_id);
    }
    let complete = entries.len() == rpc.entries.len();
    let request = pb::AppendEntriesRequest {
        vote: Some(vote_to_pb(&rpc.vote)),
        prev_log_id: rpc.prev_log_id.as_ref().map(log_id_to_pb),
        entries,
        leader_commit: rpc.leader_commit.as_ref().map(log_id_to_pb),
    };
    (request, cut_after.filter(|_| !complete))
}

fn rpc_error<R: Runtime>(error: CallError) -> RPCError<TypeConfig<R>> {
    match error {
        // Openraft waits longer before it asks an unreachable peer again.
        CallError::Unreachable(_) | CallError::Refused(_) => RPCError::Unreachable(Unreachable::new(&error)),
        CallError::TimedOut | CallError::Broken(_) => RPCError::Network(NetworkError::new(&error)),
    }
}
