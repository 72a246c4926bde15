//! What a driver saw. `Unknown` is neither success nor failure, and nothing may be built on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a driver saw when it carried out one order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[must_use = "an outcome that nobody reads is a host that nobody knows about"]
pub enum Outcome<T> {
    /// The driver asked the device, and this is the answer.
    Observed(T),
    /// The device understood and said no; asking again will not help.
    Refused(Refusal),
    /// Nobody knows whether the order took effect.
    Unknown(Doubt),
}

/// Why a device or an agent said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Refusal {
    /// User name, password or Kg are wrong. Never retried by itself: BMCs lock accounts.
    Credentials,
    /// The account's privilege does not cover the order.
    Privilege,
    /// The device does not offer a safe way to talk (no cipher suite 17 or 3, a downgrade).
    Insecure,
    /// The device belongs to another machine than the one named in the order.
    WrongMachine,
    /// The device does not know the order.
    Unsupported,
    /// The order's token is older than one already seen.
    OldToken,
    /// The order names another boot of this host.
    WrongBoot,
    /// The log does not give this instance to this host and token.
    NotAssigned,
    /// The host is quarantined: no instance starts until it is admitted.
    Quarantined,
    /// The hypervisor refused the definition or could not start the instance.
    Hypervisor,
    /// The executor's permit has ended.
    PermitEnded,
}

/// Why nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Doubt {
    /// No answer before the deadline.
    Timeout,
    /// The device could not be reached.
    Unreachable,
    /// The device has no session or slot free.
    Busy,
    /// The answer could not be understood.
    Garbled,
    /// The device answered with a state that is neither on nor off.
    Ambiguous,
    /// The driver itself failed.
    Internal,
}

/// A machine's power as its BMC reports it. Only the plain words count; all else is [`Doubt::Ambiguous`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Power {
    /// The chassis power is on.
    On,
    /// The chassis power is off.
    Off,
}

/// An instance as the hypervisor on one host reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum InstanceState {
    /// It runs, or is paused with its memory in place.
    Running,
    /// It is defined or was known here, and does not run.
    Stopped,
    /// Its process ended without being asked to.
    Crashed,
    /// A live migration brings it or takes it away. It may vanish before it ever runs here, or go on here.
    Moving,
    /// A live migration took it away: it has not ended, and runs elsewhere.
    Migrated,
}

impl InstanceState {
    /// Returns whether a copy is here that runs or may begin to.
    pub fn is_here(self) -> bool {
        match self {
            Self::Running | Self::Moving => true,
            Self::Stopped | Self::Crashed | Self::Migrated => false,
        }
    }

    /// Returns whether an instance in this state is lost with its owner. One that ended is to stay so, and one that a live
    /// migration took away is elsewhere.
    pub fn dies_with_its_owner(self) -> bool {
        match self {
            Self::Running | Self::Moving | Self::Crashed => true,
            Self::Stopped | Self::Migrated => false,
        }
    }

    /// Returns what its owner's report says of the instance: one that moves runs somewhere.
    pub fn of_owner(self) -> Self {
        match self {
            Self::Moving => Self::Running,
            Self::Running | Self::Stopped | Self::Crashed | Self::Migrated => self,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Credentials => "wrong user name, password or Kg",
            Self::Privilege => "the account's privilege is too low",
            Self::Insecure => "no safe cipher suite (17 or 3)",
            Self::WrongMachine => "the device belongs to another machine",
            Self::Unsupported => "the device does not know the order",
            Self::OldToken => "the order's token is older than one already seen",
            Self::WrongBoot => "the order names another boot of this host",
            Self::NotAssigned => "the log does not give this instance to this host and token",
            Self::Quarantined => "the host is quarantined until it is admitted",
            Self::Hypervisor => "the hypervisor refused",
            Self::PermitEnded => "the executor's permit has ended",
        })
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Timeout => "no answer before the deadline",
            Self::Unreachable => "could not be reached",
            Self::Busy => "no session free",
            Self::Garbled => "the answer could not be understood",
            Self::Ambiguous => "the answer was neither on nor off",
            Self::Internal => "the driver failed",
        })
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

impl<T> Outcome<T> {
    /// Returns what was observed with `change` applied; refusals and doubts stay what they are.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Self::Observed(seen) => Outcome::Observed(change(seen)),
            Self::Refused(refusal) => Outcome::Refused(refusal),
            Self::Unknown(doubt) => Outcome::Unknown(doubt),
        }
    }
}
