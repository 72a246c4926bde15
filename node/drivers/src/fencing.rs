//! Fencing: devices that cut a host's power, and the one sequence that proves it off.
//!
//! A driver answers single questions ([`FenceDevice`]); [`sequence`] puts them in the only order that proves anything;
//! [`conformance`] is what each driver must pass. To add a driver: a file beside `ipmi.rs` and one arm per `match` here.

use std::time::Duration;

use quorumfence_machine::{Outcome, Power, SystemUuid};

use crate::order::{FenceDevice, FenceSession};

pub mod conformance;
pub mod identity;
pub mod ipmi;
pub mod sequence;

/// A configured fencing device of any kind.
#[derive(Debug, Clone)]
pub enum Device {
    /// A BMC, over IPMI 2.0 (RMCP+).
    Ipmi(ipmi::Bmc),
}

/// A conversation with a device of any kind.
#[derive(Debug)]
pub enum Session {
    /// With a BMC.
    Ipmi(Box<ipmi::Session>),
}

impl FenceDevice for Device {
    type Session = Session;

    async fn open(&self, deadline: Duration) -> Outcome<Session> {
        match self {
            Self::Ipmi(bmc) => bmc.open(deadline).await.map(|session| Session::Ipmi(Box::new(session))),
        }
    }
}

impl FenceSession for Session {
    async fn identity(&mut self, deadline: Duration) -> Outcome<Option<SystemUuid>> {
        match self {
            Self::Ipmi(session) => session.identity(deadline).await,
        }
    }

    async fn power(&mut self, deadline: Duration) -> Outcome<Power> {
        match self {
            Self::Ipmi(session) => session.power(deadline).await,
        }
    }

    async fn power_off(&mut self, deadline: Duration) -> Outcome<()> {
        match self {
            Self::Ipmi(session) => session.power_off(deadline).await,
        }
    }

    async fn close(self) {
        match self {
            Self::Ipmi(session) => session.close().await,
        }
    }
}
