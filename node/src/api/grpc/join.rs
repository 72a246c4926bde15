//! The face to those who join: they have a token and no certificate.

use std::sync::Arc;
use std::time::SystemTime;

use quorumfence_machine::{Actor, Change, JoinTokenId, Joiner, Rejected, Reply, RequestId};
use quorumfence_proto::{convert, pb, status};
use sha2::{Digest, Sha256};
use tonic::{Request, Response, Status};

use super::super::Node;
use super::refusal;
use crate::cluster::authority::REQUEST_BYTES_MAX;
use crate::cluster::identity::Peer;
use crate::cluster::token::SecretHash;
use crate::environment::Environment;

/// Answers those who join.
#[derive(Debug)]
pub(super) struct Face<E: Environment> {
    node: Arc<Node<E>>,
}

impl<E: Environment> Face<E> {
    pub(super) fn new(node: Arc<Node<E>>) -> Self {
        Self { node }
    }
}

#[tonic::async_trait]
impl<E: Environment> pb::join_server::Join for Face<E> {
    async fn authority(&self, _: Request<pb::AuthorityRequest>) -> Result<Response<pb::AuthorityReply>, Status> {
        let node = &self.node;
        Ok(Response::new(pb::AuthorityReply {
            ca_pem: node.authority.certificate_pem().into(),
            cluster: node.description.cluster.0.to_vec(),
            name: node.description.cluster_name.clone(),
        }))
    }

    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinReply>, Status> {
        let request = request.into_inner();
        if request.csr_pem.len() > REQUEST_BYTES_MAX {
            return Err(Status::invalid_argument("the signing request is too large"));
        }
        let id: JoinTokenId = convert::name(request.token.clone(), "token")?;
        let joiner: Joiner = convert::required(request.joiner.clone(), "joiner")?;
        convert::uuid(request.request.clone(), "request")?;
        let node = &self.node;
        let bound = bound_request(&request);
        let replica = node.controller.replica();
        replica.linearizable().await.map_err(refusal::of_read)?;
        let first = replica.read(|state| state.answered(&bound).map(|stored| stored.reply.clone()));
        let reply = match first {
            Some(reply) => reply.map_err(|rejected| status::rejected(&rejected))?,
            None => {
                node.refuse_wrong_secret(&id, &request.secret)?;
                node.refuse_unsignable(&request.csr_pem, &joiner)?;
                let secret_hash = SecretHash::of(&request.secret).0;
                let change = Change::Join { id, secret_hash, joiner: joiner.clone() };
                let by = Actor::Controller(replica.id());
                replica.propose(by, Some(bound), change).await.map_err(refusal::of_proposal)?.1
            }
        };
        let peer = admitted(&joiner, reply)?;
        node.reply(&request.csr_pem, &peer).map(Response::new)
    }
}

impl<E: Environment> Node<E> {
    /// Refuses a wrong secret before anything enters the log: whoever has no token must not fill it. Whether the
    /// token is still valid is decided by the log alone.
    fn refuse_wrong_secret(&self, id: &JoinTokenId, secret: &str) -> Result<(), Status> {
        let known = self
            .controller
            .replica()
            .read(|state| state.join_tokens().find(|token| token.id == *id).map(|token| SecretHash(token.secret_hash)));
        match known {
            Some(hash) if hash.matches(secret) => Ok(()),
            Some(_) | None => Err(status::rejected(&Rejected::JoinToken(id.clone()))),
        }
    }

    /// Refuses a request that could not be signed before the log spends the token and binds the name.
    fn refuse_unsignable(&self, csr_pem: &str, joiner: &Joiner) -> Result<(), Status> {
        let peer = match joiner {
            Joiner::Agent { host } => Peer::Agent(host.clone()),
            // The log has not given the id out; a request that can be signed for one can be signed for every other.
            Joiner::Controller { .. } => Peer::Controller(self.controller.replica().id()),
        };
        let trial = self.authority.sign(csr_pem, &peer, SystemTime::now());
        trial.map(drop).map_err(|error| Status::invalid_argument(error.to_string()))
    }

    fn reply(&self, csr_pem: &str, peer: &Peer) -> Result<pb::JoinReply, Status> {
        let signed = self.authority.sign(csr_pem, peer, SystemTime::now());
        let certificate_pem = signed.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let controller = match peer {
            Peer::Controller(id) => Some(pb::ControllerSecrets {
                id: id.0,
                cluster_key: self.cluster_key.expose().to_vec(),
                ca_key_pem: String::from_utf8_lossy(self.authority.key_pem().expose()).into_owned(),
            }),
            Peer::Agent(_) | Peer::Operator(_) => None,
        };
        tracing::info!(%peer, "signed a certificate for a member that joined");
        let peers = self.controller.replica().read(|state| {
            let controllers = state.controllers();
            controllers.map(|row| pb::Peer { id: row.id.0, address: row.address.clone() }).collect()
        });
        Ok(pb::JoinReply {
            certificate_pem,
            ca_pem: self.authority.certificate_pem().into(),
            cluster: self.description.cluster.0.to_vec(),
            cluster_name: self.description.cluster_name.clone(),
            peers,
            controller,
        })
    }
}

/// Returns the name of the request, bound to everything that it asks for.
///
/// A name that the log knows gets its first answer and is asked for no token again: the token may be used up by it, and
/// gone. Only whoever knows the secret and sends the same key again can say such a name, and its first sending was
/// refused unless the secret matched the token. Were the name the caller's alone, one token could be used again under
/// the same name for another host or another key.
fn bound_request(request: &pb::JoinRequest) -> RequestId {
    let joiner = request.joiner.as_ref().map(prost::Message::encode_to_vec).unwrap_or_default();
    let mut hash = Sha256::new();
    for part in
        [&request.request, request.token.as_bytes(), request.secret.as_bytes(), request.csr_pem.as_bytes(), &joiner]
    {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    RequestId(digest[..16].try_into().expect("a hash of 32 bytes has 16"))
}

fn admitted(joiner: &Joiner, reply: Reply) -> Result<Peer, Status> {
    match (joiner, reply) {
        (Joiner::Controller { .. }, Reply::Controller(id)) => Ok(Peer::Controller(id)),
        (Joiner::Agent { host }, Reply::Done) => Ok(Peer::Agent(host.clone())),
        (Joiner::Controller { .. }, Reply::Done | Reply::Fence(_) | Reply::Permit(_))
        | (Joiner::Agent { .. }, Reply::Controller(_) | Reply::Fence(_) | Reply::Permit(_)) => {
            Err(Status::internal("the log gave an answer that does not fit; nothing was signed"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_by_the_same_name_for_something_else_is_another_request() {
        let agent = |host: &str| Some(pb::Joiner { kind: Some(pb::joiner::Kind::Agent(host.into())) });
        let first = pb::JoinRequest {
            request: vec![1; 16],
            token: "t".into(),
            secret: "s".into(),
            csr_pem: "csr".into(),
            joiner: agent("host1"),
        };
        let other_host = pb::JoinRequest { joiner: agent("host2"), ..first.clone() };
        let other_key = pb::JoinRequest { csr_pem: "other".into(), ..first.clone() };
        assert_eq!(bound_request(&first), bound_request(&first.clone()));
        assert_ne!(bound_request(&first), bound_request(&other_host));
        assert_ne!(bound_request(&first), bound_request(&other_key));
    }
}
