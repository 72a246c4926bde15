//! How a machine joins: it makes sure of the cluster first, then shows its token, then gets a certificate.

use std::time::{Duration, SystemTime};

use quorumfence_machine::ControllerId;
use quorumfence_proto::pb::join_client::JoinClient;
use quorumfence_proto::{CONTROL_MESSAGE_BYTES_MAX, pb};
use tokio::time::timeout;

use super::client::request_id;
use super::{Exit, Failure};
use crate::cluster::identity::{Identity, Peer, PendingIdentity, SignedCertificate};
use crate::cluster::pin::fetch_authority;
use crate::cluster::token::JoinToken;
use crate::wiring::dial::connect;

/// What every verb that joins takes.
#[derive(Debug, clap::Args)]
pub(super) struct Target {
    /// The join token that 'quorumfence token create' printed.
    #[arg(long, env = "QUORUMFENCE_JOIN_TOKEN", hide_env_values = true)]
    token: String,
    /// A controller of the cluster; may be given more than once.
    #[arg(long, value_name = "HOST:PORT", required = true)]
    controller: Vec<String>,
}

/// A machine that was let in.
pub(super) struct Admitted {
    pub(super) reply: pb::JoinReply,
    pub(super) identity: Identity,
}

/// Joins through the first controller that answers. Asking again with the same key joins once.
pub(super) async fn join(
    target: &Target,
    joiner: pb::Joiner,
    expected: impl Fn(&pb::JoinReply) -> Result<Peer, Failure>,
    limit: Duration,
) -> Result<Admitted, Failure> {
    let token: JoinToken = target.token.parse().map_err(|error| Failure::of(Exit::Usage, &error))?;
    let pending = PendingIdentity::generate().map_err(|error| Failure::of(Exit::Failed, &error))?;
    let request = pb::JoinRequest {
        request: request_id().0.to_vec(),
        token: token.id.to_string(),
        secret: token.expose_secret().into(),
        csr_pem: pending.request_pem().into(),
        joiner: Some(joiner),
    };
    let mut last = Failure::new(Exit::Usage, "no controller was named");
    for address in &target.controller {
        match ask(address, &token, request.clone(), limit).await {
            Ok(reply) => {
                let expected = expected(&reply)?;
                let signed = SignedCertificate {
                    certificate_pem: &reply.certificate_pem,
                    authority_pem: &reply.ca_pem,
                    pinned: token.authority,
                };
                let identity = pending.complete(&signed, &expected, SystemTime::now());
                let identity = identity.map_err(|error| Failure::of(Exit::Failed, &error))?;
                return Ok(Admitted { reply, identity });
            }
            Err(failure) if failure.exit == Exit::Unreachable || failure.exit == Exit::TimedOut => last = failure,
            Err(failure) => return Err(failure),
        }
    }
    Err(last)
}

async fn ask(
    address: &str,
    token: &JoinToken,
    request: pb::JoinRequest,
    limit: Duration,
) -> Result<pb::JoinReply, Failure> {
    use crate::cluster::pin::Error as Pin;
    let pinned = fetch_authority(address, token.authority, limit).await.map_err(|error| {
        let exit = match &error {
            Pin::Unreachable { .. } => Exit::Unreachable,
            Pin::TimedOut { .. } => Exit::TimedOut,
            Pin::Handshake { .. } | Pin::WrongAuthority { .. } | Pin::NotAController { .. } => Exit::Failed,
        };
        Failure::of(exit, &error)
    })?;
    let channel = connect(address, pinned.client_tls(), limit).await.map_err(Failure::from)?;
    let mut client = JoinClient::new(channel).max_decoding_message_size(CONTROL_MESSAGE_BYTES_MAX);
    match timeout(limit, client.join(request)).await {
        Ok(answer) => Ok(answer.map_err(Failure::from)?.into_inner()),
        Err(_) => Err(Failure::new(
            Exit::TimedOut,
            format!(
                "{address} did not answer in time; the token may be used up by this. Try again with another token if it is refused"
            ),
        )),
    }
}

/// Returns the controllers that a reply names.
pub(super) fn controllers(reply: &pb::JoinReply) -> Vec<crate::cluster::directory::ControllerAddress> {
    let peers = reply.peers.iter();
    peers
        .map(|peer| crate::cluster::directory::ControllerAddress {
            id: ControllerId(peer.id),
            address: peer.address.clone(),
        })
        .collect()
}
