//! Work: what somebody must do in the world, computed from the state, so that a new leader loses nothing.

use serde::{Deserialize, Serialize};

use crate::{BootId, ClusterTime, ControllerId, Device, HostId, InstanceId, SystemUuid, Token};

/// One thing to do. Carrying it out twice does no harm; its identity is [`Work::id`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Work {
    /// Power a host off at every device of a level and prove it.
    Fence(FenceWork),
    /// Start an instance on its assigned host.
    Start(StartWork),
    /// Stop a copy of an instance that the log does not give to this host.
    Stop(StopWork),
}

/// Power a host off.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FenceWork {
    /// The decision.
    pub token: Token,
    /// The host.
    pub host: HostId,
    /// The level, from 0.
    pub level: u8,
    /// The attempt at this fence, from 1.
    pub attempt: u32,
    /// Not before this.
    pub not_before: ClusterTime,
    /// The voter whose turn it is; `None` is whoever leads. The leader stands in for one that is away.
    pub executor: Option<ControllerId>,
    /// The machine that the agent saw; each device is compared with it before off.
    pub identity: Option<SystemUuid>,
    /// The level's devices.
    pub devices: Vec<Device>,
}

/// Start an instance.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StartWork {
    /// The assignment's token; the agent refuses older ones.
    pub token: Token,
    /// The instance.
    pub instance: InstanceId,
    /// Where.
    pub host: HostId,
    /// In which boot of it.
    pub boot: BootId,
    /// From what (libvirt XML).
    pub definition: String,
}

/// Stop a stray copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StopWork {
    /// The token under which the instance belongs elsewhere.
    pub token: Token,
    /// The instance.
    pub instance: InstanceId,
    /// Where the stray copy stands.
    pub host: HostId,
    /// In which boot of it.
    pub boot: BootId,
}

/// What makes two pieces of work the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkId {
    /// One attempt at one fence.
    Fence { token: Token, attempt: u32 },
    /// One assignment.
    Start { instance: InstanceId, token: Token },
    /// One stray copy.
    Stop { instance: InstanceId, host: HostId, boot: BootId },
}

impl Work {
    /// Returns what makes this piece of work the same as another.
    pub fn id(&self) -> WorkId {
        match self {
            Self::Fence(work) => WorkId::Fence { token: work.token, attempt: work.attempt },
            Self::Start(work) => WorkId::Start { instance: work.instance, token: work.token },
            Self::Stop(work) => WorkId::Stop { instance: work.instance, host: work.host.clone(), boot: work.boot },
        }
    }
}
