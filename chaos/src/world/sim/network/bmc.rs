//! BMCs over the simulated network.

use std::sync::Arc;
use std::time::Duration;

use quorumfence_drivers::order::{FenceDevice, FenceSession};
use quorumfence_machine::{ControllerId, Device, Doubt, HostId, Outcome, Power, SystemUuid};

use super::wired::Wired;
use super::{Arrives, Errand, Ether, NetworkEvent, Place};

/// How long a BMC has for one request. The caller's deadline is not known to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The BMC of one host as one controller reaches it.
///
/// A request that was sent takes effect when it arrives, even if the controller gave up or died meanwhile.
#[derive(Debug, Clone)]
pub struct SimBmc {
    ether: Arc<Ether>,
    controller: ControllerId,
    /// Where the network takes a request.
    place: HostId,
    /// The host that is meant, whatever the line leads to.
    host: HostId,
    device: Wired,
}

impl SimBmc {
    #[cfg(test)]
    pub(in crate::world::sim) fn new(ether: Arc<Ether>, controller: ControllerId, host: HostId) -> Self {
        let device = Wired::Bmc(ether.laboratory.bmc(&host));
        Self { ether, controller, place: host.clone(), host, device }
    }

    /// Returns the device of a host that is behind an enrolled device's address.
    pub(in crate::world::sim) fn behind(
        ether: Arc<Ether>,
        controller: ControllerId,
        host: &HostId,
        device: &Device,
    ) -> Self {
        let (place, device) = Wired::behind(&ether.laboratory, host, device);
        Self { ether, controller, place, host: host.clone(), device }
    }

    async fn ask<T, F>(&self, what: &str, deadline: Duration, serve: impl Fn(Wired) -> F + Send + Sync) -> Outcome<T>
    where
        T: Send + 'static,
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let errand = Errand {
            from: Place::Controller(self.controller),
            to: Place::Bmc(self.place.clone()),
            what: what.into(),
            arrives: Arrives::Once,
        };
        let serve = || {
            let serving = serve(self.device.clone());
            async move {
                match serving.await {
                    // A BMC that says nothing says nothing.
                    Outcome::Unknown(Doubt::Timeout) => None,
                    outcome @ (Outcome::Observed(_) | Outcome::Refused(_) | Outcome::Unknown(_)) => Some(outcome),
                }
            }
        };
        self.ether.ask(errand, deadline, serve).await.unwrap_or(Outcome::Unknown(Doubt::Timeout))
    }
}

impl FenceDevice for SimBmc {
    type Session = Self;

    async fn open(&self, deadline: Duration) -> Outcome<Self> {
        let opened = self.ask("open", deadline, |bmc| async move { bmc.open(PATIENCE).await }).await;
        opened.map(|device| Self { device, ..self.clone() })
    }
}

impl FenceSession for SimBmc {
    async fn identity(&mut self, deadline: Duration) -> Outcome<Option<SystemUuid>> {
        self.ask("identity", deadline, |bmc| async move { bmc.identity(PATIENCE).await }).await
    }

    async fn power(&mut self, deadline: Duration) -> Outcome<Power> {
        self.ask("power", deadline, |bmc| async move { bmc.power(PATIENCE).await }).await
    }

    async fn power_off(&mut self, deadline: Duration) -> Outcome<()> {
        self.ether.note(format_args!("{} sends off to the BMC of {}", self.controller, self.host));
        self.ether.tell(NetworkEvent::OffSent { controller: self.controller, host: self.host.clone() });
        self.ask("off", deadline, |bmc| async move { bmc.power_off(PATIENCE).await }).await
    }

    async fn close(self) {}
}
