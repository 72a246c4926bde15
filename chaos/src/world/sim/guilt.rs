//! Worlds that break the rules: what a canary needs.

use std::time::Duration;

use quorumfence_drivers::lab::BmcMode;
use quorumfence_machine::HostId;

use super::{Sim, host};
use crate::canary::Guilt;

impl Sim {
    /// Breaks the rules.
    pub(super) async fn be_guilty(&mut self, guilt: Guilt) {
        match guilt {
            Guilt::DisksLie => self.seats.values().for_each(|seat| seat.disk.lie()),
            Guilt::BmcLies => self.lie_about(&host(1)).await,
        }
    }

    /// A host is on and cannot be heard, and its BMC goes on telling of the moment when it was off.
    async fn lie_about(&mut self, host: &HostId) {
        self.isolate(host);
        self.cut_power(host);
        self.laboratory().set_bmc(host, BmcMode::Stale);
        self.pass(Duration::from_millis(10)).await;
        self.restore_power(host);
    }
}
