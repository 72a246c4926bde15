//! A simulated BMC as a fencing driver.

use std::time::Duration;

use quorumfence_machine::{Doubt, HostId, Millis, Outcome, Power, Refusal, SystemUuid};
use tokio::time::{sleep, timeout};

use super::{BmcMode, Laboratory, millis};
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

    /// Answers after the laboratory's pace, or not before the deadline when there is no answer.
    async fn answer<T>(
        &self,
        deadline: Duration,
        answer: impl FnOnce(&Self, BmcMode) -> Option<Outcome<T>>,
    ) -> Outcome<T> {
        let answered = async {
            let mode = self.laboratory.world().bmc_mode(&self.host);
            match mode {
                BmcMode::Silent => return std::future::pending().await,
                BmcMode::Works
                | BmcMode::Ignores
                | BmcMode::RefusesLogin
                | BmcMode::Late(_)
                | BmcMode::Stale
                | BmcMode::Busy
                | BmcMode::PowersBackOn(_)
                | BmcMode::LosesAnswer => sleep(self.laboratory.pace.bmc).await,
            }
            match answer(self, mode) {
                Some(outcome) => outcome,
                None => std::future::pending().await,
            }
        };
        timeout(deadline, answered).await.unwrap_or(Outcome::Unknown(Doubt::Timeout))
    }

    /// Returns how long after an accepted off order the power goes; `None` for never.
    fn obeys_after(&self, mode: BmcMode) -> Option<Millis> {
        match mode {
            BmcMode::Ignores | BmcMode::Silent => None,
            BmcMode::Late(after) => Some(millis(after)),
            BmcMode::Works
            | BmcMode::RefusesLogin
            | BmcMode::Stale
            | BmcMode::Busy
            | BmcMode::PowersBackOn(_)
            | BmcMode::LosesAnswer => Some(millis(self.laboratory.pace.power_off)),
        }
    }
}

impl FenceDevice for LaboratoryBmc {
    type Session = Self;

    async fn open(&self, deadline: Duration) -> Outcome<Self> {
        self.answer(deadline, |bmc, mode| match mode {
            BmcMode::RefusesLogin => Some(Outcome::Refused(Refusal::Credentials)),
            BmcMode::Busy => Some(Outcome::Unknown(Doubt::Busy)),
            BmcMode::Silent => None,
            BmcMode::Works
            | BmcMode::Ignores
            | BmcMode::Late(_)
            | BmcMode::Stale
            | BmcMode::PowersBackOn(_)
            | BmcMode::LosesAnswer => Some(Outcome::Observed(bmc.clone())),
        })
        .await
    }
}

impl FenceSession for LaboratoryBmc {
    async fn identity(&mut self, deadline: Duration) -> Outcome<Option<SystemUuid>> {
        self.answer(deadline, |bmc, _| Some(Outcome::Observed(bmc.laboratory.world().machine_id(&bmc.host)))).await
    }

    async fn power(&mut self, deadline: Duration) -> Outcome<Power> {
        self.answer(deadline, |bmc, _| Some(Outcome::Observed(bmc.laboratory.world().reading(&bmc.host)))).await
    }

    async fn power_off(&mut self, deadline: Duration) -> Outcome<()> {
        self.answer(deadline, |bmc, mode| {
            bmc.laboratory.world().order_off(&bmc.host, bmc.obeys_after(mode));
            match mode {
                BmcMode::LosesAnswer | BmcMode::Silent => None,
                BmcMode::Works
                | BmcMode::Ignores
                | BmcMode::RefusesLogin
                | BmcMode::Late(_)
                | BmcMode::Stale
                | BmcMode::Busy
                | BmcMode::PowersBackOn(_) => Some(Outcome::Observed(())),
            }
        })
        .await
    }

    async fn close(self) {}
}
