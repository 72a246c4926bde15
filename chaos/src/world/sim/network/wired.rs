//! What stands at the end of a fencing line: a BMC, or the outlet that its host draws its power from.

use std::time::Duration;

use quorumfence_drivers::lab::{Laboratory, LaboratoryBmc};
use quorumfence_drivers::order::{FenceDevice, FenceSession};
use quorumfence_machine::{Device, HostId, Outcome, Power, SystemUuid};

/// What an outlet's address begins with.
const OUTLET: &str = "pdu";

/// What stands between the two ends in the address of a BMC that is cabled to another host.
const CABLED: &str = "-to-";

/// A device at the end of a line.
#[derive(Debug, Clone)]
pub(super) enum Wired {
    Bmc(LaboratoryBmc),
    /// It knows no machine, and what it switches off is off.
    Outlet(Laboratory, HostId),
}

impl Wired {
    /// Returns what an address leads to, and the name that the network has for the place.
    pub(super) fn behind(laboratory: &Laboratory, host: &HostId, device: &Device) -> (HostId, Self) {
        let name = device.address.split(':').next().unwrap_or_default();
        if let (true, Ok(place)) = (name.starts_with(OUTLET), name.parse()) {
            return (place, Self::Outlet(laboratory.clone(), host.clone()));
        }
        let cabled = name.split_once(CABLED).and_then(|(_, other)| other.parse::<HostId>().ok());
        let host = cabled.unwrap_or_else(|| host.clone());
        let bmc = laboratory.bmc(&host);
        (host, Self::Bmc(bmc))
    }

    pub(super) async fn open(self, deadline: Duration) -> Outcome<Self> {
        match self {
            Self::Bmc(bmc) => bmc.open(deadline).await.map(Self::Bmc),
            outlet @ Self::Outlet(..) => Outcome::Observed(outlet),
        }
    }

    pub(super) async fn identity(self, deadline: Duration) -> Outcome<Option<SystemUuid>> {
        match self {
            Self::Bmc(mut bmc) => bmc.identity(deadline).await,
            Self::Outlet(..) => Outcome::Observed(None),
        }
    }

    pub(super) async fn power(self, deadline: Duration) -> Outcome<Power> {
        match self {
            Self::Bmc(mut bmc) => bmc.power(deadline).await,
            Self::Outlet(laboratory, host) => {
                Outcome::Observed(if laboratory.is_on(&host) { Power::On } else { Power::Off })
            }
        }
    }

    pub(super) async fn power_off(self, deadline: Duration) -> Outcome<()> {
        match self {
            Self::Bmc(mut bmc) => bmc.power_off(deadline).await,
            Self::Outlet(laboratory, host) => {
                laboratory.cut_power(&host);
                Outcome::Observed(())
            }
        }
    }
}
