//! An agent's network cable.

use std::time::Duration;

use quorumfence_drivers::lab::LaboratoryHypervisor;
use quorumfence_machine::{Doubt, Holding, InstanceId, Outcome};
use quorumfence_raft::{Peer, SystemClock, TokioRuntime};
use tokio::sync::{mpsc, watch};

use crate::agent::{AgentMessage, ControllerMessage};
use crate::environment::{AgentEnvironment, Link, LinkError};
use crate::wiring::GrpcLink;

/// What a simulated host's agent runs on: everything is real but the hypervisor and the cable.
#[derive(Debug)]
pub(super) struct SimulatedHost;

impl AgentEnvironment for SimulatedHost {
    type Runtime = TokioRuntime;
    type Clock = SystemClock;
    type Hypervisor = LaboratoryHypervisor;
    type Link = Cable;

    fn random() -> u64 {
        rand::random()
    }
}

/// A link over gRPC that can be pulled.
#[derive(Debug, Clone)]
pub(super) struct Cable {
    link: GrpcLink,
    plugged: watch::Receiver<bool>,
}

impl Cable {
    pub(super) fn new(link: GrpcLink, plugged: watch::Receiver<bool>) -> Self {
        Self { link, plugged }
    }

    async fn pulled(&self) {
        // A host that is gone has no cable either.
        let mut plugged = self.plugged.clone();
        if plugged.wait_for(|plugged| !plugged).await.is_err() {
            tracing::debug!("the host of a cable is gone");
        }
    }
}

impl Link for Cable {
    async fn attend(
        &self,
        controller: &Peer,
        outbound: mpsc::Receiver<AgentMessage>,
        inbound: mpsc::Sender<ControllerMessage>,
    ) -> Result<(), LinkError> {
        tokio::select! {
            biased;
            () = self.pulled() => Err(LinkError("the cable is pulled".into())),
            ended = self.link.attend(controller, outbound, inbound) => ended,
        }
    }

    async fn holder(&self, controller: &Peer, instance: InstanceId, deadline: Duration) -> Outcome<Holding> {
        tokio::select! {
            biased;
            () = self.pulled() => Outcome::Unknown(Doubt::Unreachable),
            answer = self.link.holder(controller, instance, deadline) => answer,
        }
    }
}
