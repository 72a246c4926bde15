//! A simulated BMC as a fencing driver.

use std::time::Duration;

use quorumfence_machine::{Doubt, HostId, Millis, Outcome, Power, Refusal, SystemUuid};
use tokio::time::{sleep, timeout};

use super::{BmcMode, Laboratory};
use crate::order::{FenceDevice, FenceSession};

/// The BMC of one simulated host.
#[derive(Debug, Clone)]
pub struct LaboratoryBmc {
    laboratory: Laboratory,
    host: HostId,
}

impl LaboratoryBmc {
    pub(super) fn new(laboratory: Laboratory, host: HostId) -> Self {
        Self { laboratory, host }
    }

    /// Answers after the laboratory's pace, or not before the deadline when the BMC is silent.
    async fn answer<T>(&self, deadline: Duration, answer: impl FnOnce(&Self, BmcMode) -> Outcome<T>) -> Outcome<T> {
        let mode = self.laboratory.world().bmc_mode(&self.host);
        let pace = match mode {
            BmcMode::Silent => Duration::MAX,
            BmcMode::Works | BmcMode::Ignores | BmcMode::RefusesLogin => self.laboratory.pace.bmc,
        };
        match timeout(deadline, sleep(pace)).await {
            Ok(()) => answer(self, mode),
            Err(_) => Outcome::Unknown(Doubt::Timeout),
        }
    }
}

impl FenceDevice for LaboratoryBmc {
    type Session = Self;

    async fn open(&self, deadline: Duration) -> Outcome<Self> {
        self.answer(deadline, |bmc, mode| match mode {
            BmcMode::RefusesLogin => Outcome::Refused(Refusal::Credentials),
            BmcMode::Works | BmcMode::Ignores | BmcMode::Silent => Outcome::Observed(bmc.clone()),
        })
        .await
    }
}

impl FenceSession for LaboratoryBmc {
    async fn identity(&mut self, deadline: Duration) -> Outcome<Option<SystemUuid>> {
        self.answer(deadline, |bmc, _| Outcome::Observed(bmc.laboratory.world().machine_id(&bmc.host))).await
    }

    async fn power(&mut self, deadline: Duration) -> Outcome<Power> {
        self.answer(deadline, |bmc, _| {
            Outcome::Observed(if bmc.laboratory.is_on(&bmc.host) { Power::On } else { Power::Off })
        })
        .await
    }

    async fn power_off(&mut self, deadline: Duration) -> Outcome<()> {
        self.answer(deadline, |bmc, mode| {
            let at = bmc.laboratory.now();
            let delay = Millis(u64::try_from(bmc.laboratory.pace.power_off.as_millis()).unwrap_or(u64::MAX));
            let due = (mode == BmcMode::Works).then_some(at + delay);
            bmc.laboratory.world().order_off(at, &bmc.host, due);
            Outcome::Observed(())
        })
        .await
    }

    async fn close(self) {}
}
