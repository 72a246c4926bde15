//! The face to agents.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use futures_util::{Stream, StreamExt, future, stream};
use quorumfence_machine::{HostId, InstanceId};
use quorumfence_proto::{convert, pb};
use tonic::{Request, Response, Status, Streaming};

use super::super::Node;
use super::{caller, message, refusal};
use crate::agent::AgentMessage;
use crate::environment::Environment;

/// Answers agents.
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
impl<E: Environment> pb::agent_server::Agent for Face<E> {
    type AttendStream = Pin<Box<dyn Stream<Item = Result<pb::ControllerMessage, Status>> + Send>>;

    async fn attend(
        &self,
        request: Request<Streaming<pb::AgentMessage>>,
    ) -> Result<Response<Self::AttendStream>, Status> {
        let host = caller::agent(&request)?;
        if self.node.controller.replica().read(|state| state.host(&host).is_none()) {
            // A controller that follows may lack the entry that let the host in.
            self.node.controller.replica().linearizable().await.map_err(refusal::of_read)?;
        }
        if self.node.controller.replica().read(|state| state.host(&host).is_none()) {
            return Err(Status::permission_denied(format!("host {host} is not in the log; join it again")));
        }
        let refused = Arc::new(OnceLock::new());
        let lets_in = if self.node.laboratory { LetsIn::Everybody } else { LetsIn::RealHosts };
        let inbound = heard(host.clone(), lets_in, Arc::clone(&refused), request.into_inner());
        let outbound = self.node.controller.attend(host, inbound);
        let outbound = outbound.map(|message| Ok(message::controller_to_wire(message)));
        let last = stream::once(async move { refused.get().cloned() }).filter_map(future::ready).map(Err);
        Ok(Response::new(Box::pin(outbound.chain(last))))
    }

    async fn holder(&self, request: Request<pb::HolderRequest>) -> Result<Response<pb::HolderReply>, Status> {
        caller::agent(&request)?;
        let instance = InstanceId(convert::uuid(request.into_inner().instance, "instance")?);
        let holding = self.node.controller.holder(instance).await.map_err(refusal::of_read)?;
        Ok(Response::new(holding.into()))
    }
}

/// Whose agents may attend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LetsIn {
    RealHosts,
    Everybody,
}

/// What an agent says, until it says something that is not understood, it may not attend, or its connection ends. Why it
/// may not is left in `refused`.
fn heard<S>(
    host: HostId,
    lets_in: LetsIn,
    refused: Arc<OnceLock<Status>>,
    wire: S,
) -> impl Stream<Item = AgentMessage> + Send + 'static
where
    S: Stream<Item = Result<pb::AgentMessage, Status>> + Send + 'static,
{
    wire.map(move |message| match message.map(message::agent_from_wire) {
        Ok(Ok(Some(AgentMessage::Beat(beat)))) if beat.laboratory && lets_in == LetsIn::RealHosts => {
            let why = format!(
                "the agent of {host} says 'laboratory = true', and this controller is no laboratory's, so the host is not \
                 heard; take the line out of its configuration"
            );
            tracing::error!(%host, "{why}");
            refused.get_or_init(|| Status::failed_precondition(why));
            None
        }
        Ok(Ok(message)) => Some(message),
        Ok(Err(error)) => {
            tracing::warn!(%host, %error, "an agent's message is not understood; its connection is closed");
            None
        }
        Err(status) => {
            tracing::debug!(%host, reason = status.message(), "an agent's connection ended");
            None
        }
    })
    .take_while(|message| future::ready(message.is_some()))
    .filter_map(|message| future::ready(message.flatten()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Beat;
    use quorumfence_machine::{BootId, Millis};

    async fn attend(laboratory: bool, lets_in: LetsIn) -> (usize, Option<String>) {
        let beat = Beat {
            sequence: 1,
            boot: BootId([1; 16]),
            sent: Millis(1),
            lease_left: Millis(1),
            laboratory,
            next_within: Millis(1000),
        };
        let wire = stream::iter(vec![Ok(message::agent_to_wire(AgentMessage::Beat(beat))); 3]);
        let refused = Arc::new(OnceLock::new());
        let heard = heard("host1".parse().unwrap(), lets_in, Arc::clone(&refused), wire).count().await;
        (heard, refused.get().map(|status| status.message().to_owned()))
    }

    #[tokio::test]
    async fn an_agent_of_a_laboratory_is_heard_by_a_laboratorys_controllers_only() {
        assert_eq!(attend(false, LetsIn::RealHosts).await, (3, None));
        assert_eq!(attend(false, LetsIn::Everybody).await, (3, None));
        assert_eq!(attend(true, LetsIn::Everybody).await, (3, None));
        let why = "the agent of host1 says 'laboratory = true', and this controller is no laboratory's, so the host is not \
                   heard; take the line out of its configuration";
        assert_eq!(attend(true, LetsIn::RealHosts).await, (0, Some(why.to_owned())));
    }
}
