//! One state of the model: the log by its number, and everything around it that is asynchronous.

use std::fmt;

use quorumfence_machine::{BootId, ControllerId, HostId, InstanceId, LogIndex, Token};

use super::agents::AgentNumber;
use super::log::LogNumber;

/// A host, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostNumber(pub u8);

/// A controller, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControllerNumber(pub u8);

/// One life of a host, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot(pub u8);

/// The only instance.
pub(super) const INSTANCE: InstanceId = InstanceId([0xaa; 16]);

/// One state of the model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// The committed log.
    pub log: LogNumber,
    /// The time, in steps of [`super::bootstrap::STEP`]: the cluster's clock.
    pub now: u8,
    /// Faults so far.
    pub faults: u8,
    /// Who leads in truth.
    pub leader: ControllerNumber,
    /// The controllers.
    pub controllers: Vec<Controller>,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// Orders on their way, sorted: they arrive in any order, late, or not at all.
    pub orders: Vec<Order>,
    /// What an order did that it must not do.
    pub breach: Option<Breach>,
}

/// One controller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Controller {
    /// How far it has applied the log; kept only while it believes that it leads.
    pub knows: LogNumber,
    /// Whether it believes that it leads. Its proposals are committed whether or not it does: they are forwarded.
    pub believes: bool,
    /// The fence that it is carrying out.
    pub task: Option<Task>,
    /// An agent's answer that is not in the log.
    pub answer: Option<Answer>,
}

/// One attempt at a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Task {
    /// The decision.
    pub token: Token,
    /// The host.
    pub host: HostNumber,
    /// The permit; `None` only where the guard that asks for one is taken away.
    pub permit: Option<LogIndex>,
    /// When the permit ends.
    pub until: u8,
    /// How far it is.
    pub progress: Progress,
}

/// How far an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Progress {
    /// Nothing was ordered.
    Permitted,
    /// Off is ordered.
    Sent,
    /// The BMC says Off, in two sessions.
    OffRead,
}

/// An agent's answer to a start order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answer {
    /// The order's token.
    pub token: Token,
    /// Whether the instance runs.
    pub runs: bool,
}

/// One host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// Whether it has power.
    pub on: bool,
    /// Whether its agent and the controllers cannot hear each other. Its BMC is on another network.
    pub isolated: bool,
    /// Its present or last boot.
    pub boot: Boot,
    /// Its agent's memory.
    pub agent: AgentNumber,
    /// The start that its hypervisor is carrying out.
    pub starting: Option<Token>,
    /// Whether the instance runs here.
    pub runs: bool,
}

/// An order on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// To a BMC.
    Off {
        /// Whose.
        host: HostNumber,
        /// The decision.
        token: Token,
        /// The permit.
        permit: Option<LogIndex>,
    },
    /// To an agent.
    Start {
        /// Whose.
        host: HostNumber,
        /// The boot that is meant.
        boot: Boot,
        /// The assignment.
        token: Token,
        /// Who waits for the answer.
        from: ControllerNumber,
    },
}

/// What an order did that it must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Breach {
    /// It cut the power of a host whose fence is another one, or none.
    StaleOff,
    /// It started the instance while the fenced boot still had power.
    EarlyStart,
}

impl World {
    /// Returns how many copies of the instance run.
    pub fn copies(&self) -> usize {
        self.hosts.iter().filter(|host| host.runs).count()
    }

    /// Returns the host of a number.
    pub fn host(&self, host: HostNumber) -> &Host {
        &self.hosts[usize::from(host.0)]
    }

    pub(super) fn host_mut(&mut self, host: HostNumber) -> &mut Host {
        &mut self.hosts[usize::from(host.0)]
    }

    /// Returns the controller of a number.
    pub fn controller(&self, controller: ControllerNumber) -> &Controller {
        &self.controllers[usize::from(controller.0)]
    }

    pub(super) fn controller_mut(&mut self, controller: ControllerNumber) -> &mut Controller {
        &mut self.controllers[usize::from(controller.0)]
    }

    /// Returns whether a boot of a host still has power.
    pub fn lives(&self, host: HostNumber, boot: Boot) -> bool {
        let host = self.host(host);
        host.on && host.boot == boot
    }
}

impl HostNumber {
    /// Returns its name in the log.
    pub fn id(self) -> HostId {
        self.to_string().parse().expect("a letter, digits and nothing else are a name")
    }

    pub(super) fn of(id: &HostId) -> Self {
        let digits = id.as_str().trim_start_matches("host");
        Self(digits.parse::<u8>().expect("every host of the model has a number") - 1)
    }
}

impl ControllerNumber {
    /// Returns its id in the log.
    pub fn id(self) -> ControllerId {
        ControllerId(u64::from(self.0) + 1)
    }

    pub(super) fn of(id: ControllerId) -> Self {
        Self(u8::try_from(id.0 - 1).expect("the model has a few controllers"))
    }
}

impl Boot {
    /// Returns its id: it names the host too.
    pub fn id(self, host: HostNumber) -> BootId {
        BootId([host.0 * 16 + self.0 + 1; 16])
    }

    pub(super) fn of(id: BootId) -> Self {
        Self(id.0[0] % 16 - 1)
    }
}

impl fmt::Display for HostNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host{}", self.0 + 1)
    }
}

impl fmt::Display for ControllerNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id().fmt(f)
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot {}", self.0 + 1)
    }
}
