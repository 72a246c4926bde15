//! A laboratory with two hosts, and a BMC over UDP in front of the first.

use std::time::Duration;

use quorumfence_chaos::world::processes::bmc::{Account, BmcServer, Level, Wire};
use quorumfence_drivers::fencing::conformance::{Bench, Obedience, Order, StormyBench, Weather};
use quorumfence_drivers::fencing::ipmi::{Bmc, Session};
use quorumfence_drivers::fencing::sequence::{Expected, OffOrder};
use quorumfence_drivers::lab::{BmcMode, Fact, Happening, Laboratory, Pace};
use quorumfence_drivers::order::{DeviceAccess, FenceDevice};
use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{BootId, HostId, Millis, Outcome, Power, SystemUuid};
use tokio::net::UdpSocket;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

const USER: &str = "fence";
pub(crate) const PASSWORD: &str = "0perator";

pub(crate) struct BmcBench {
    pub(crate) laboratory: Laboratory,
    pub(crate) server: BmcServer,
    suite: u8,
    kg: Option<&'static str>,
}

impl BmcBench {
    pub(crate) async fn start(suite: u8) -> Self {
        Self::start_as(suite, None, Level::Operator).await
    }

    pub(crate) async fn start_as(suite: u8, kg: Option<&'static str>, level: Level) -> Self {
        let pace = Pace { bmc: Duration::from_millis(1), ..Pace::default() };
        let laboratory = Laboratory::open(pace);
        laboratory.add_host(host(), machine(), BootId([1; 16]));
        laboratory.add_host(other_host(), SystemUuid([0x5a; 16]), BootId([2; 16]));
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let account = Account { user: USER.into(), password: Secret::new(PASSWORD), kg: kg.map(Secret::new), level };
        let server = BmcServer::serve(laboratory.clone(), host(), socket, account).expect("a bound socket");
        Self { laboratory, server, suite, kg }
    }

    /// Returns an access that works.
    pub(crate) fn access(&self) -> DeviceAccess {
        DeviceAccess {
            address: self.server.address(),
            user: USER.into(),
            password: Secret::new(PASSWORD),
            kg: self.kg.map(Secret::new),
            suite: Some(self.suite),
        }
    }

    pub(crate) async fn open(&self) -> Session {
        match self.device().open(PATIENCE).await {
            Outcome::Observed(session) => session,
            Outcome::Refused(refusal) => panic!("no session: {refusal}"),
            Outcome::Unknown(doubt) => panic!("no session: {doubt}"),
        }
    }

    pub(crate) fn happened(&self, host: &HostId) -> Vec<Happening> {
        let of_host = |fact: Fact| match &fact.what {
            Happening::PowerOff { host: of, .. }
            | Happening::PowerOn { host: of, .. }
            | Happening::OffOrdered { host: of }
                if of == host =>
            {
                Some(fact.what)
            }
            Happening::PowerOff { .. }
            | Happening::PowerOn { .. }
            | Happening::OffOrdered { .. }
            | Happening::Started { .. }
            | Happening::Ended { .. } => None,
        };
        self.laboratory.facts().into_iter().filter_map(of_host).collect()
    }
}

pub(crate) fn device(access: DeviceAccess) -> Bmc {
    Bmc::new(access).expect("the access is usable")
}

pub(crate) fn order(deadline: Duration) -> OffOrder {
    OffOrder { expected: Expected::Named(machine()), deadline, answer: deadline }
}

pub(crate) fn host() -> HostId {
    "host1".parse().expect("a host's name")
}

pub(crate) fn other_host() -> HostId {
    "host2".parse().expect("a host's name")
}

pub(crate) fn machine() -> SystemUuid {
    "33221100-5544-7766-8899-aabbccddeeff".parse().expect("a UUID")
}

impl Bench for BmcBench {
    type Device = Bmc;

    fn device(&self) -> Bmc {
        device(self.access())
    }

    fn device_with_wrong_password(&self) -> Option<Bmc> {
        Some(device(DeviceAccess { password: Secret::new("guessed"), ..self.access() }))
    }

    fn machine(&self) -> Option<SystemUuid> {
        Some(machine())
    }

    fn switch(&self, power: Power) {
        match power {
            Power::On => self.laboratory.restore_power(&host(), BootId([3; 16])),
            Power::Off => self.laboratory.cut_power(&host()),
        }
    }

    fn truth(&self) -> Power {
        if self.laboratory.is_on(&host()) { Power::On } else { Power::Off }
    }

    fn obedience(&self, obedience: Obedience) {
        let mode = match obedience {
            Obedience::Follows => BmcMode::Works,
            Obedience::Ignores => BmcMode::Ignores,
        };
        self.laboratory.set_bmc(&host(), mode);
    }

    fn orders(&self) -> Vec<Order> {
        let is_order = |happening: &Happening| matches!(happening, Happening::OffOrdered { .. });
        let off = self.happened(&host()).iter().filter(|happening| is_order(happening)).count();
        let mut orders = vec![Order::Off; off];
        orders.extend(vec![Order::Other; self.server.other_orders()]);
        orders
    }
}

impl StormyBench for BmcBench {
    fn weather(&self, weather: Weather) {
        let (mode, wire) = match weather {
            Weather::Clear => (BmcMode::Works, Wire::default()),
            Weather::Silent => (BmcMode::Silent, Wire::default()),
            Weather::Late(by) => {
                let by = Millis(u64::try_from(by.as_millis()).expect("a short time"));
                (BmcMode::Works, Wire { delay_min: by, delay_max: by, ..Wire::default() })
            }
            Weather::Doubled => (BmcMode::Works, Wire { duplicate: 100, ..Wire::default() }),
            Weather::Lossy => (BmcMode::Works, Wire { seed: 1, drop: 28, ..Wire::default() }),
            Weather::Shuffled => (BmcMode::Works, Wire { seed: 1, reorder: 50, ..Wire::default() }),
        };
        self.laboratory.set_bmc(&host(), mode);
        self.server.set_wire(wire);
    }

    fn logins(&self) -> usize {
        self.server.logins()
    }
}
