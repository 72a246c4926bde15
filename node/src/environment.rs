//! What the loops of controllers and agents run on. Production wires the system, a simulation wires a seed.
//!
//! The loops name nothing else of the outside: no runtime, no clock, no chance, no network, no device.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use quorumfence_drivers::order::{FenceDevice, Hypervisor};
use quorumfence_machine::{Device, Holding, HostId, InstanceId, Outcome, RequestId};
use quorumfence_raft::{Clock, Peer, Point, Runtime};
use tokio::sync::{mpsc, watch};

use crate::agent::{AgentMessage, ControllerMessage};

/// What a controller runs on, besides what its replica runs on. A marker type: nobody makes a value of it.
pub trait Environment: quorumfence_raft::Environment {
    /// Makes drivers of enrolled devices.
    type Devices: Devices;
    /// Looks at hosts from outside.
    type Probes: Probes;

    /// Returns 64 random bits. Not for secrets.
    fn random() -> u64;
}

/// What an agent runs on. A marker type: nobody makes a value of it.
pub trait AgentEnvironment: Debug + Send + Sync + 'static {
    /// Spawns tasks, sleeps and limits time.
    type Runtime: Runtime;
    /// Tells the time.
    type Clock: Clock;
    /// The hypervisor of this host.
    type Hypervisor: Hypervisor;
    /// Reaches controllers.
    type Link: Link;

    /// Returns 64 random bits. Not for secrets.
    fn random() -> u64;

    /// Is passed at a stall point, and returns when whoever came by may go on: at once, unless a world holds it.
    fn pass(_point: Point) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Makes drivers of enrolled devices.
pub trait Devices: Clone + Send + Sync + 'static {
    /// The driver.
    type Device: FenceDevice;

    /// Opens a device's sealed password and returns its driver. MUST NOT touch the network.
    ///
    /// A password that does not open is `Refused(Credentials)`; a driver that this node may not use is
    /// `Refused(Unsupported)`.
    fn device(&self, host: &HostId, device: &Device) -> Outcome<Self::Device>;
}

/// Looks at hosts from outside.
///
/// Both methods MUST return within their deadline. `Observed(true)` is an answer from the host; silence is `Unknown`,
/// never `Observed(false)`.
pub trait Probes: Clone + Send + Sync + 'static {
    /// Sends one echo request.
    fn ping(&self, address: &str, deadline: Duration) -> impl Future<Output = Outcome<bool>> + Send;

    /// Asks a health endpoint once.
    fn health(&self, endpoint: &str, deadline: Duration) -> impl Future<Output = Outcome<bool>> + Send;
}

/// How an agent reaches one controller.
pub trait Link: Clone + Send + Sync + 'static {
    /// Carries messages both ways, in order, until the connection ends or the future is dropped.
    ///
    /// MUST NOT deliver a message of an earlier connection. May stay on a connection that is half open: the agent
    /// drops the future when acknowledgements stay out.
    fn attend(
        &self,
        controller: &Peer,
        outbound: mpsc::Receiver<AgentMessage>,
        inbound: mpsc::Sender<ControllerMessage>,
    ) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// Asks a controller, through a quorum, who may run an instance and which of its copies are to be stopped.
    ///
    /// MUST return within the deadline, and MUST answer `Unknown` when no quorum confirmed the read.
    fn holder(
        &self,
        controller: &Peer,
        instance: InstanceId,
        deadline: Duration,
    ) -> impl Future<Output = Outcome<Holding>> + Send;
}

/// Why a connection to a controller ended. For the log only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LinkError(pub String);

/// Draws the name of a request, so that asking twice changes the state once.
pub(crate) fn request<E: Environment>() -> RequestId {
    let (high, low) = (E::random().to_be_bytes(), E::random().to_be_bytes());
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high);
    bytes[8..].copy_from_slice(&low);
    RequestId(bytes)
}

/// Tells the tasks of one owner to end. They end at their next wait.
#[derive(Debug, Clone)]
pub(crate) struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Returns once [`Self::stop`] was called.
    pub(crate) async fn stopped(&self) {
        let mut told = self.0.subscribe();
        let never_closed = told.wait_for(|stop| *stop).await.is_ok();
        assert!(never_closed, "this handle holds the sender");
    }
}
