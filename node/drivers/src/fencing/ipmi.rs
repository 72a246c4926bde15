//! The `ipmi` driver: a BMC over IPMI 2.0 (RMCP+, UDP).
//!
//! ```text
//! Bmc::open ─▶ rakp (who is who, keys) ─▶ Session ─▶ commands (ipmi-rs) ─▶ message ─▶ packet ─▶ wire (UDP)
//! ```
//!
//! Messages and commands are those of `ipmi-rs` (`Message`, `Request`, `Response`, `IpmiCommand`). The transport under
//! them is ours: the crate's own takes any datagram for an answer, so one that arrived late reported *off* for a machine
//! that was on. Its `IpmiConnection` trait blocks a thread, so [`Session`] carries the same `Request` and `Response`
//! over an asynchronous socket in its place.
//!
//! What this driver never does: speak IPMI 1.5 or cipher suite 0, go on with weaker algorithms than it asked for, try a
//! refused password again, order anything but hard off, or take an answer for a question that it did not answer.

use std::time::Duration;

use ipmi_rs::app::{DeviceId, GetDeviceId};
use quorumfence_machine::{Outcome, Power, SystemUuid};
use tokio::time::Instant;

use self::commands::{ChassisControl, ChassisStatus, SystemGuid};
pub use self::error::AccessError;
use self::error::Error;
pub use self::session::Session;
pub use self::suite::Suite;
use super::identity;
use crate::order::{DeviceAccess, FenceDevice, FenceSession};

mod commands;
mod error;
mod message;
mod packet;
mod rakp;
mod session;
mod suite;
mod wire;

/// Longest user name (IPMI 2.0, section 22.28).
const USER_BYTES_MAX: usize = 16;

/// Longest password and longest Kg of IPMI 2.0 (sections 22.30 and 22.25).
const KEY_BYTES_MAX: usize = 20;

/// A BMC and how to log in to it.
#[derive(Debug, Clone)]
pub struct Bmc {
    access: DeviceAccess,
    suite: Option<Suite>,
}

/// What enrolment learns of a BMC.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolment {
    /// The cipher suite that worked, to be stored and asked for from then on.
    pub suite: Suite,
    /// The machine behind the BMC, to be compared with what its firmware says.
    pub identity: Option<SystemUuid>,
    /// Whether that machine is on.
    pub power: Power,
    /// Maker, product and firmware of the BMC.
    pub device: DeviceId,
}

impl Bmc {
    /// Takes a configured access, refusing what no BMC could accept.
    pub fn new(access: DeviceAccess) -> Result<Self, AccessError> {
        let suite = match access.suite {
            Some(number) => Some(Suite::from_number(number).ok_or(AccessError::Suite { number })?),
            None => None,
        };
        let kg_bytes = access.kg.as_ref().map_or(0, |kg| kg.expose().len());
        if access.user.len() > USER_BYTES_MAX {
            return Err(AccessError::UserLength { bytes: access.user.len() });
        }
        if access.password.expose().len() > KEY_BYTES_MAX || kg_bytes > KEY_BYTES_MAX {
            return Err(AccessError::KeyLength);
        }
        Ok(Self { access, suite })
    }

    /// Looks at a BMC for the first time: which cipher suite it speaks, whose power it switches, and what it is.
    pub async fn enrol(&self, deadline: Duration) -> Outcome<Enrolment> {
        let until = Instant::now() + deadline;
        let mut session = match self.log_in(until).await {
            Ok(session) => session,
            Err(error) => return told(&self.access, Err(error)),
        };
        let learnt = learn(&mut session, until).await;
        session.close().await;
        told(&self.access, learnt)
    }

    async fn log_in(&self, until: Instant) -> Result<Session, Error> {
        match self.suite {
            Some(suite) => Session::open(&self.access, suite, until).await,
            None => self.probe(until).await,
        }
    }

    /// Tries the strong suite, then the one that every BMC has. Some BMCs do not answer a suite that they lack, so
    /// silence moves on too, after half of the time.
    async fn probe(&self, until: Instant) -> Result<Session, Error> {
        let half = Instant::now() + until.saturating_duration_since(Instant::now()) / 2;
        match Session::open(&self.access, Suite::Seventeen, half).await {
            Err(Error::SuiteRefused { .. } | Error::Downgraded { .. } | Error::Timeout) => {
                Session::open(&self.access, Suite::Three, until).await
            }
            opened => opened,
        }
    }
}

async fn learn(session: &mut Session, until: Instant) -> Result<Enrolment, Error> {
    Ok(Enrolment {
        suite: session.suite(),
        device: session.command(GetDeviceId, until).await?,
        identity: read_identity(session, until).await?,
        power: session.command(ChassisStatus, until).await?,
    })
}

/// A BMC that does not know Get System GUID, or was never given one, offers no identity; that is an answer.
async fn read_identity(session: &mut Session, until: Instant) -> Result<Option<SystemUuid>, Error> {
    match session.command(SystemGuid, until).await {
        Ok(guid) => Ok(identity::known(guid)),
        Err(Error::Completion { code }) if error::is_unknown_command(code) => Ok(None),
        Err(error) => Err(error),
    }
}

impl FenceDevice for Bmc {
    type Session = Session;

    async fn open(&self, deadline: Duration) -> Outcome<Session> {
        told(&self.access, self.log_in(Instant::now() + deadline).await)
    }
}

impl FenceSession for Session {
    async fn identity(&mut self, deadline: Duration) -> Outcome<Option<SystemUuid>> {
        let answer = read_identity(self, Instant::now() + deadline).await;
        told(self.peer(), answer)
    }

    async fn power(&mut self, deadline: Duration) -> Outcome<Power> {
        let answer = self.command(ChassisStatus, Instant::now() + deadline).await;
        told(self.peer(), answer)
    }

    async fn power_off(&mut self, deadline: Duration) -> Outcome<()> {
        let answer = self.command(ChassisControl::PowerDown, Instant::now() + deadline).await;
        told(self.peer(), answer)
    }

    async fn close(self) {
        self.end().await;
    }
}

/// Sorts an answer into the three that the rest of the product knows; the detail goes to the log, and holds no secret.
fn told<T>(device: impl std::fmt::Display, answer: Result<T, Error>) -> Outcome<T> {
    match answer {
        Ok(seen) => Outcome::Observed(seen),
        Err(error) => {
            tracing::debug!(%device, %error, "ipmi: no answer to build on");
            match error.verdict() {
                error::Verdict::Refused(refusal) => Outcome::Refused(refusal),
                error::Verdict::Unknown(doubt) => Outcome::Unknown(doubt),
            }
        }
    }
}

#[cfg(test)]
mod tests;
