//! An agent's way to controllers over gRPC.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use quorumfence_machine::{CALL_AGAIN, ControllerId, Doubt, Holding, InstanceId, Outcome};
use quorumfence_proto::pb::agent_client::AgentClient;
use quorumfence_proto::{CONTROL_MESSAGE_BYTES_MAX, pb};
use quorumfence_raft::Peer;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::dial::connect;
use crate::agent::{AgentMessage, BACK_OFF_MAX, ControllerMessage};
use crate::api::grpc::message::{agent_to_wire, controller_from_wire};
use crate::cluster::identity::{self, Identity};
use crate::environment::{Link, LinkError};

/// A controller that does not take a connection in this time is tried again later.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Time for the handshake of a call that is answered.
const HANDSHAKE: Duration = Duration::from_secs(1);

// Whoever judges silence after an outage waits until agents had the time to call.
const _: () = assert!(
    CALL_AGAIN.0 as u128 >= BACK_OFF_MAX.0 as u128 + CONNECT_LIMIT.as_millis() + HANDSHAKE.as_millis(),
    "an agent may need longer to call again than the judges wait"
);

/// Reaches controllers with the agent's certificate.
#[derive(Debug, Clone)]
pub struct GrpcLink {
    identity: Arc<Identity>,
    /// The connection of each stream that is open, so that a question need not dial.
    open: Arc<Mutex<BTreeMap<ControllerId, Channel>>>,
}

impl GrpcLink {
    /// Takes the agent's key and certificate.
    pub fn new(identity: Identity) -> Self {
        Self { identity: Arc::new(identity), open: Arc::default() }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<ControllerId, Channel>> {
        self.open.lock().expect("nothing panics while it holds the connections")
    }

    async fn dial(&self, controller: &Peer) -> Result<Channel, Status> {
        let tls = self.identity.client_tls(&identity::Peer::Controller(controller.id));
        connect(&controller.address, tls, CONNECT_LIMIT).await
    }

    async fn ask(&self, controller: &Peer, instance: InstanceId) -> Result<pb::HolderReply, Status> {
        let open = self.open().get(&controller.id).cloned();
        let channel = match open {
            Some(channel) => channel,
            None => self.dial(controller).await?,
        };
        let request = pb::HolderRequest { instance: instance.0.to_vec() };
        client(channel).holder(request).await.map(tonic::Response::into_inner)
    }
}

impl Link for GrpcLink {
    async fn attend(
        &self,
        controller: &Peer,
        outbound: mpsc::Receiver<AgentMessage>,
        inbound: mpsc::Sender<ControllerMessage>,
    ) -> Result<(), LinkError> {
        let channel = self.dial(controller).await.map_err(ended)?;
        let outbound = ReceiverStream::new(outbound).map(agent_to_wire);
        let mut stream = client(channel.clone()).attend(outbound).await.map_err(ended)?.into_inner();
        self.open().insert(controller.id, channel);
        let _closed = Closes { link: self, controller: controller.id };
        while let Some(message) = stream.message().await.map_err(ended)? {
            let message = controller_from_wire(message).map_err(|error| LinkError(error.to_string()))?;
            let Some(message) = message else { continue };
            if inbound.send(message).await.is_err() {
                return Ok(());
            }
        }
        Err(LinkError("the controller closed the stream".into()))
    }

    async fn holder(&self, controller: &Peer, instance: InstanceId, deadline: Duration) -> Outcome<Holding> {
        let reply = match timeout(deadline, self.ask(controller, instance)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(status)) => {
                tracing::debug!(controller = %controller.id, reason = status.message(), "no quorum told who holds an instance");
                return Outcome::Unknown(Doubt::Unreachable);
            }
            Err(_) => return Outcome::Unknown(Doubt::Timeout),
        };
        match reply.try_into() {
            Ok(holding) => Outcome::Observed(holding),
            Err(error) => {
                tracing::warn!(controller = %controller.id, %error, "a controller's answer is not understood");
                Outcome::Unknown(Doubt::Garbled)
            }
        }
    }
}

/// Forgets a stream's connection when the stream ends, however it ends.
struct Closes<'a> {
    link: &'a GrpcLink,
    controller: ControllerId,
}

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.link.open().remove(&self.controller);
    }
}

fn client(channel: Channel) -> AgentClient<Channel> {
    AgentClient::new(channel)
        .max_decoding_message_size(CONTROL_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(CONTROL_MESSAGE_BYTES_MAX)
}

fn ended(status: Status) -> LinkError {
    if status.code() == Code::FailedPrecondition {
        tracing::error!(reason = status.message(), "a controller does not let this agent attend");
    }
    let cause = std::iter::successors(std::error::Error::source(&status), |&cause| cause.source()).last();
    LinkError(match cause {
        Some(cause) => format!("{} ({cause})", status.message()),
        None => status.message().into(),
    })
}
