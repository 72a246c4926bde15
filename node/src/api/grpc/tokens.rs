//! Creating join tokens.

use quorumfence_machine::{Actor, Change, JoinTokenId, Millis, RequestId, Role};
use quorumfence_proto::{convert, pb};
use sha2::{Digest, Sha256};
use tonic::Status;

use super::super::Node;
use super::cluster::request_id;
use super::refusal;
use crate::cluster::token::SecretHash;
use crate::environment::Environment;

/// Longest life of a token: a year is no token any more but a standing door.
const LIFE_MAX: Millis = Millis(366 * 24 * 60 * 60 * 1000);

pub(super) async fn create<E: Environment>(
    node: &Node<E>,
    by: Actor,
    request: pb::TokenCreateRequest,
) -> Result<pb::TokenCreateReply, Status> {
    let name = request_id(request.mutation.as_ref())?;
    let role: Role = convert::number::<pb::Role, _>(request.role, "role")?;
    let life = Millis(request.life_ms);
    if life == Millis::ZERO || life > LIFE_MAX || request.uses == 0 {
        return Err(Status::invalid_argument("a join token lives from 1 ms to 366 days and has at least one use"));
    }
    let (id, secret) = drawn(node, name);
    let secret_hash = SecretHash::of(&secret).0;
    let change = Change::JoinTokenCreate { id: id.clone(), secret_hash, role, life, uses: request.uses };
    let proposed = node.controller.replica().propose(by, Some(name), change).await;
    let (at, _) = proposed.map_err(refusal::of_proposal)?;
    let ca_fingerprint = node.authority.fingerprint().0.to_vec();
    Ok(pb::TokenCreateReply { at: at.0, id: id.into(), secret, ca_fingerprint })
}

/// Draws id and secret from the request's unguessable name and the cluster key, which all controllers have.
///
/// A client that asks again, at whichever controller, so gets the token that the log holds the hash of.
fn drawn<E: Environment>(node: &Node<E>, request: RequestId) -> (JoinTokenId, String) {
    let part = |label: &[u8]| -> String {
        let mut hash = Sha256::new();
        hash.update(node.cluster_key.expose());
        hash.update(label);
        hash.update(request.0);
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let id = part(b"quorumfence join token id:    ")[..8].parse().expect("hexadecimal digits are a name");
    (id, part(b"quorumfence join token secret:")[..40].to_string())
}
