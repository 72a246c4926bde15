//! The calling end: gRPC over mutual TLS.
//!
//! A peer is dialled at its address and must show a certificate of this cluster's CA with the name `controller-<id>`:
//! who merely answers at that address is refused before a byte of Raft is sent.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorumfence_proto::pb::raft_client::RaftClient;
use quorumfence_proto::status::{self, Detail};
use quorumfence_proto::{RAFT_MESSAGE_BYTES_MAX, SNAPSHOT_CHUNK_BYTES, pb};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, ConnectError, Status};

use super::{Lane, Request, Response, SnapshotTransfer, Transport, name};
use crate::codec::peer_from_pb;
use crate::{CallError, Peer};

/// How long a dial may take; a peer that does not answer within it is dialled again at the next call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection on which nothing answers for the interval and the timeout together is given up.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a controller proves itself with, and whom it believes. All PEM.
#[derive(Clone)]
pub struct Credentials {
    /// The cluster's CA.
    pub ca_pem: Vec<u8>,
    /// This controller's certificate, with intermediates if there are any.
    pub certificate_pem: Vec<u8>,
    /// Its key.
    pub key_pem: Vec<u8>,
}

/// The key is never written.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The credentials cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the certificate, its key or the CA cannot be used; check the PEM files")]
pub struct CredentialsError(#[from] tonic::transport::Error);

/// Calls peers over gRPC with mutual TLS. Dials lazily, again after every loss, and once per lane.
#[derive(Clone)]
pub struct Grpc {
    shared: Arc<Shared>,
}

struct Shared {
    tls: ClientTlsConfig,
    channels: Mutex<BTreeMap<(Peer, Lane), Channel>>,
}

impl fmt::Debug for Grpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grpc")
    }
}

impl Grpc {
    /// Makes a transport; nothing is dialled yet.
    pub fn new(credentials: &Credentials) -> Result<Self, CredentialsError> {
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&credentials.ca_pem))
            .identity(Identity::from_pem(&credentials.certificate_pem, &credentials.key_pem));
        // Tonic reads the PEM when an endpoint is made: make one that is never dialled.
        Endpoint::from_static("https://localhost:1").tls_config(tls.clone().domain_name("localhost"))?;
        Ok(Self { shared: Arc::new(Shared { tls, channels: Mutex::new(BTreeMap::new()) }) })
    }

    fn client(&self, peer: &Peer, lane: Lane) -> Result<RaftClient<Channel>, CallError> {
        let mut channels = self.shared.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (peer.clone(), lane);
        let channel = match channels.get(&place) {
            Some(channel) => channel.clone(),
            None => {
                let channel = self.dial(peer).map_err(|error| CallError::Unreachable(chain(&error)))?;
                channels.retain(|(known, known_lane), _| known.id != peer.id || *known_lane != lane);
                channels.insert(place, channel.clone());
                channel
            }
        };
        Ok(RaftClient::new(channel)
            .max_decoding_message_size(RAFT_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(RAFT_MESSAGE_BYTES_MAX))
    }

    fn dial(&self, peer: &Peer) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("https://{}", peer.address))?
            .tls_config(self.shared.tls.clone().domain_name(name::server_name(peer.id)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_lazy())
    }
}

impl Transport for Grpc {
    async fn call(&self, peer: &Peer, lane: Lane, request: Request, deadline: Duration) -> Result<Response, CallError> {
        let client = self.client(peer, lane)?;
        match tokio::time::timeout(deadline, send(client, request, deadline)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(status)) => not_leader(&status).map_or_else(|| Err(call_error(&status)), Ok),
            Err(_) => Err(CallError::TimedOut),
        }
    }
}

async fn send(mut client: RaftClient<Channel>, request: Request, deadline: Duration) -> Result<Response, Status> {
    Ok(match request {
        Request::AppendEntries(message) => {
            Response::AppendEntries(client.append_entries(timed(message, deadline)).await?.into_inner())
        }
        Request::Vote(message) => Response::Vote(client.vote(timed(message, deadline)).await?.into_inner()),
        Request::PreVote(message) => Response::PreVote(client.pre_vote(timed(message, deadline)).await?.into_inner()),
        Request::InstallSnapshot(transfer) => {
            let chunks = tokio_stream::iter(chunks(transfer));
            Response::InstallSnapshot(client.install_snapshot(timed(chunks, deadline)).await?.into_inner())
        }
        Request::TransferLeader(message) => {
            Response::TransferLeader(client.transfer_leader(timed(message, deadline)).await?.into_inner())
        }
        Request::Propose(message) => Response::Propose(client.propose(timed(message, deadline)).await?.into_inner()),
        Request::ReadIndex(message) => {
            Response::ReadIndex(client.read_index(timed(message, deadline)).await?.into_inner())
        }
    })
}

fn timed<T>(message: T, deadline: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(deadline);
    request
}

fn chunks(transfer: SnapshotTransfer) -> impl Iterator<Item = pb::SnapshotChunk> + Send + 'static {
    use pb::snapshot_chunk::{Begin, Kind};
    let SnapshotTransfer { vote, header, data } = transfer;
    let begin = Begin { vote: Some(vote), header: Some(header), bytes: data.len() as u64 };
    let count = data.len().div_ceil(SNAPSHOT_CHUNK_BYTES);
    let pieces = (0..count).map(move |number| {
        let from = number * SNAPSHOT_CHUNK_BYTES;
        let to = data.len().min(from + SNAPSHOT_CHUNK_BYTES);
        Kind::Data(data[from..to].to_vec())
    });
    std::iter::once(Kind::Begin(begin)).chain(pieces).map(|kind| pb::SnapshotChunk { kind: Some(kind) })
}

fn not_leader(status: &Status) -> Option<Response> {
    match status::detail(status)? {
        Detail::NotLeader { leader } => Some(Response::NotLeader(leader.map(peer_from_pb))),
        Detail::Rejected(_) => None,
    }
}

/// Only what certainly was not executed is called unreachable or refused.
fn call_error(status: &Status) -> CallError {
    if never_connected(status) {
        return CallError::Unreachable(chain(status));
    }
    match status.code() {
        Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument | Code::Unimplemented => {
            CallError::Refused(status.message().into())
        }
        Code::DeadlineExceeded => CallError::TimedOut,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => CallError::Broken(chain(status)),
    }
}

fn never_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
