//! Calls between replicas over the simulated network.

use std::sync::Arc;
use std::time::Duration;

use quorumfence_machine::ControllerId;
use quorumfence_raft::{CallError, HandleError, Lane, Peer, Request, Response, Transport};

use super::{Arrives, Errand, Ether, Place};

/// Calls replicas over the simulated network. What is under way arrives even when its sender dies meanwhile.
#[derive(Debug, Clone)]
pub struct SimTransport {
    pub(in crate::world::sim) ether: Arc<Ether>,
    pub(in crate::world::sim) me: ControllerId,
}

impl Transport for SimTransport {
    async fn call(&self, peer: &Peer, lane: Lane, request: Request, deadline: Duration) -> Result<Response, CallError> {
        let (from, to) = (self.me, peer.id);
        let errand = Errand {
            from: Place::Controller(from),
            to: Place::Controller(to),
            what: format!("{lane:?} {}", name(&request)),
            arrives: arrives(&request),
        };
        let serve = || {
            let (ether, request) = (Arc::clone(&self.ether), request.clone());
            async move {
                let station = ether.station(to)?;
                let handling = station.node.spawn(async move { station.replica.handle(from, request).await });
                handling.await.ok()
            }
        };
        match self.ether.ask(errand, deadline, serve).await {
            Some(Ok(response)) => Ok(response),
            Some(Err(error)) => Err(refusal(&error)),
            None => Err(CallError::TimedOut),
        }
    }
}

/// Consensus must bear to be told twice, and so must what carries a request id. Nobody promises that of a proposal
/// without one, and HTTP/2 delivers it at most once.
fn arrives(request: &Request) -> Arrives {
    match request {
        Request::Propose(proposal) if proposal.request.is_none() => Arrives::Once,
        Request::AppendEntries(_)
        | Request::Vote(_)
        | Request::PreVote(_)
        | Request::InstallSnapshot(_)
        | Request::TransferLeader(_)
        | Request::Propose(_)
        | Request::ReadIndex(_) => Arrives::PerhapsTwice,
    }
}

fn name(request: &Request) -> &'static str {
    match request {
        Request::AppendEntries(_) => "append",
        Request::Vote(_) => "vote",
        Request::PreVote(_) => "pre-vote",
        Request::InstallSnapshot(_) => "snapshot",
        Request::TransferLeader(_) => "transfer",
        Request::Propose(_) => "propose",
        Request::ReadIndex(_) => "read-index",
    }
}

fn refusal(error: &HandleError) -> CallError {
    match error {
        HandleError::Impostor { .. } | HandleError::NotAMember(_) | HandleError::Malformed(_) => {
            CallError::Refused(error.to_string())
        }
        HandleError::Unknown(why) => CallError::Broken(why.clone()),
        HandleError::Stopped => CallError::Broken(error.to_string()),
    }
}
