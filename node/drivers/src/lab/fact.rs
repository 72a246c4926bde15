//! Facts: what really happened, with the laboratory's time.

use std::fmt;

use quorumfence_machine::{BootId, HostId, InstanceId, Millis, Token};

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// When it happened.
    pub at: Millis,
    /// What happened.
    pub what: Happening,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A host lost its power, and with it everything that ran there.
    PowerOff {
        /// The host.
        host: HostId,
        /// Who cut it.
        cause: Cause,
    },
    /// A host got its power back.
    PowerOn {
        /// The host.
        host: HostId,
        /// Its new boot.
        boot: BootId,
    },
    /// A BMC accepted an off order.
    OffOrdered {
        /// The host.
        host: HostId,
    },
    /// An instance began to run.
    Started {
        /// The instance.
        instance: InstanceId,
        /// Where.
        host: HostId,
        /// The decision that its order rests on; `None` when it ran before the cluster knew it.
        token: Option<Token>,
    },
    /// An instance ended, by order or with its host.
    Ended {
        /// The instance.
        instance: InstanceId,
        /// Where.
        host: HostId,
    },
}

/// Who cut a host's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its BMC, on order.
    Bmc,
    /// Somebody or something outside the product.
    Outside,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.at)?;
        match &self.what {
            Happening::PowerOff { host, cause: Cause::Bmc } => write!(f, "{host} off, by its BMC"),
            Happening::PowerOff { host, cause: Cause::Outside } => write!(f, "{host} off, power cut"),
            Happening::PowerOn { host, boot } => write!(f, "{host} on, boot {boot}"),
            Happening::OffOrdered { host } => write!(f, "off ordered at the BMC of {host}"),
            Happening::Started { instance, host, token: None } => write!(f, "{instance} runs on {host}"),
            Happening::Started { instance, host, token: Some(token) } => {
                write!(f, "{instance} runs on {host}, by order {token}")
            }
            Happening::Ended { instance, host } => write!(f, "{instance} ended on {host}"),
        }
    }
}
