//! Orders: what the executor asks of a driver. A driver carries out one, tells what it saw, and decides nothing.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use quorumfence_machine::{HostId, InstanceId, InstanceState, Outcome, Power, SystemUuid, Token};

use crate::secret::Secret;

/// A device that can cut the power of one host.
///
/// Implementations MUST open a new session per [`FenceDevice::open`], MUST answer `Unknown` for every timeout,
/// MUST NOT retry a refused credential, MUST NOT panic on any answer, and MUST NOT outlive the deadline that they get.
pub trait FenceDevice: Send + Sync + 'static {
    /// One authenticated conversation with the device.
    type Session: FenceSession;

    /// Opens a new session. Reads nothing and changes nothing.
    fn open(&self, deadline: Duration) -> impl Future<Output = Outcome<Self::Session>> + Send;
}

/// One authenticated conversation with a fencing device. Closing is best effort and never fails the order.
pub trait FenceSession: Send + 'static {
    /// Reads the identity of the machine behind the device; `None` when the device offers none.
    fn identity(&mut self, deadline: Duration) -> impl Future<Output = Outcome<Option<SystemUuid>>> + Send;

    /// Reads the power state. Idempotent.
    fn power(&mut self, deadline: Duration) -> impl Future<Output = Outcome<Power>> + Send;

    /// Orders hard off: never cycle, reset or ACPI soft off. Idempotent. `Observed(())` means accepted, not off.
    fn power_off(&mut self, deadline: Duration) -> impl Future<Output = Outcome<()>> + Send;

    /// Ends the session and frees its slot at the device.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Where a fencing device is and how to log in, with its secrets opened.
#[derive(Debug, Clone)]
pub struct DeviceAccess {
    /// The device's address.
    pub address: SocketAddr,
    /// The account.
    pub user: String,
    /// The account's password.
    pub password: Secret,
    /// The BMC key (IPMI 2.0, section 13.31), where one is set.
    pub kg: Option<Secret>,
    /// The RMCP+ cipher suite that enrolment found to work; `None` probes 17, then 3, which only enrolment does.
    pub suite: Option<u8>,
}

/// A hypervisor on this host, seen from its agent.
///
/// Every method MUST return within its deadline even when the hypervisor hangs. `start` and `stop` are idempotent by
/// instance: an instance that already runs is `Observed(Running)`. One that may still vanish before it ever runs, such as
/// the copy that a live migration brings, is `Unknown`.
///
/// `start` and `stop` MUST answer `Refused` only after the hypervisor said that the instance does not run there, and that no
/// earlier order to start it is under way there: another host may get it then. Whoever could not connect, log in, or was
/// not allowed to order MUST answer `Unknown`.
pub trait Hypervisor: Send + Sync + 'static {
    /// Lists the instances that the hypervisor knows, with their definitions and tags, and what a live migration took away
    /// since the driver listed it.
    fn inventory(&self, deadline: Duration) -> impl Future<Output = Outcome<Vec<Domain>>> + Send;

    /// Starts an instance from its definition, transient, so that nothing is left behind to start by itself.
    fn start(&self, order: StartOrder, deadline: Duration) -> impl Future<Output = Outcome<InstanceState>> + Send;

    /// Stops an instance at once and removes any definition that could start it again.
    fn stop(&self, instance: InstanceId, deadline: Duration) -> impl Future<Output = Outcome<InstanceState>> + Send;

    /// Waits for the next lifecycle event; returns when something changed and the inventory should be read again.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

/// One instance as a hypervisor knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// The domain's UUID.
    pub instance: InstanceId,
    /// The domain's name.
    pub name: String,
    /// Whether it runs.
    pub state: InstanceState,
    /// The inactive definition (libvirt XML), as it would be started elsewhere.
    pub definition: String,
    /// Opted in to high availability by its metadata.
    pub ha_enabled: bool,
    /// Recovery order: higher first. 0 to 1000.
    pub priority: u16,
    /// Memory that it needs, in MiB.
    pub memory_mib: u64,
}

/// What to start, and on whose word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartOrder {
    /// The instance.
    pub instance: InstanceId,
    /// The definition to start it from.
    pub definition: String,
    /// The decision that the order rests on.
    pub token: Token,
}

/// What one controller asks about one host, once.
pub trait Probe: Send + Sync + 'static {
    /// Looks once. `Observed(true)` is an answer from the host; silence is `Unknown`, never `Observed(false)`.
    fn look(&self, host: &HostId, deadline: Duration) -> impl Future<Output = Outcome<bool>> + Send;
}

impl fmt::Display for DeviceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.address)
    }
}
