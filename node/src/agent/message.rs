//! What agents and controllers say to each other on one stream.

use std::sync::Arc;

use quorumfence_machine::{AgentReport, Answer, BootId, LogIndex, Millis, Order};
use quorumfence_raft::Peer;

/// From an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentMessage {
    /// It lives.
    Beat(Beat),
    /// Its facts and instances: sent at connect and whenever they changed.
    Report(Arc<AgentReport>),
    /// What became of an order.
    Answer(Answer),
}

/// One heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// Its number on this stream.
    pub sequence: u64,
    /// The running boot.
    pub boot: BootId,
    /// When it was sent, on the agent's own clock.
    pub sent: Millis,
    /// What is left of the agent's lease.
    pub lease_left: Millis,
    /// Whether the agent is a laboratory's.
    pub laboratory: bool,
    /// The next one is sent after this long, unless an answer asks for more.
    pub next_within: Millis,
}

/// To an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControllerMessage {
    /// A heartbeat arrived.
    Ack(Ack),
    /// The leader orders something.
    Order(Order),
}

/// Who the controllers are, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Controllers {
    /// The entry of the log that says so. A controller that lags tells of an older one, and that is not to be believed: a
    /// list from before all present members would leave nobody to call.
    pub at: LogIndex,
    /// The controllers, sorted by id.
    pub peers: Vec<Peer>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The heartbeat's number.
    pub sequence: u64,
    /// The heartbeat's moment on the agent's clock, unchanged.
    pub sent: Millis,
    /// The boot of this host that the log admits; `None` while none is.
    pub admitted: Option<BootId>,
    /// The controllers. Empty when they are those of the last answer on this stream.
    pub controllers: Arc<Controllers>,
    /// How often heartbeats are wanted.
    pub heartbeat_interval: Millis,
    /// An entry by which the agent had started what it has not listed since: it lists anew.
    pub list_as_of: Option<LogIndex>,
    /// The last entry that this controller has applied.
    pub applied: LogIndex,
}
