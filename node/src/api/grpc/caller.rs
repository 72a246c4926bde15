//! Who calls, from the certificate and never from the message.

use quorumfence_machine::{Actor, HostId};
use tonic::{Request, Status};

use crate::cluster::identity::Peer;

/// Returns the operator who calls; refuses everybody else.
pub(super) fn operator<T>(request: &Request<T>) -> Result<Actor, Status> {
    match peer(request)? {
        Peer::Operator(name) => Ok(Actor::Operator(name)),
        other @ (Peer::Controller(_) | Peer::Agent(_)) => {
            Err(Status::permission_denied(format!("this is for operators, and the certificate is {other}'s")))
        }
    }
}

/// Returns the host whose agent calls; refuses everybody else.
pub(super) fn agent<T>(request: &Request<T>) -> Result<HostId, Status> {
    match peer(request)? {
        Peer::Agent(host) => Ok(host),
        other @ (Peer::Controller(_) | Peer::Operator(_)) => {
            Err(Status::permission_denied(format!("this is for agents, and the certificate is {other}'s")))
        }
    }
}

fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = Peer::of_request(request).map_err(|error| Status::unauthenticated(error.to_string()))?;
    peer.ok_or_else(|| Status::unauthenticated("this needs a certificate of the cluster, and none was shown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_without_a_certificate_is_nobody() {
        let refused = [operator(&Request::new(())).map(|_| ()), agent(&Request::new(())).map(|_| ())];
        for refused in refused {
            assert_eq!(refused.expect_err("nobody may").code(), tonic::Code::Unauthenticated);
        }
    }
}
