//! The face to agents.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, future};
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
        let inbound = heard(host.clone(), request.into_inner());
        let outbound = self.node.controller.attend(host, inbound);
        Ok(Response::new(Box::pin(outbound.map(|message| Ok(message::controller_to_wire(message))))))
    }

    async fn holder(&self, request: Request<pb::HolderRequest>) -> Result<Response<pb::HolderReply>, Status> {
        caller::agent(&request)?;
        let instance = InstanceId(convert::uuid(request.into_inner().instance, "instance")?);
        let holder = self.node.controller.holder(instance).await.map_err(refusal::of_read)?;
        Ok(Response::new(pb::HolderReply { holder: holder.map(Into::into) }))
    }
}

/// What an agent says, until it says something that is not understood or its connection ends.
fn heard(host: HostId, wire: Streaming<pb::AgentMessage>) -> impl Stream<Item = AgentMessage> + Send + 'static {
    wire.map(move |message| match message.map(message::agent_from_wire) {
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
