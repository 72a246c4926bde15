//! Test beds: a BMC in a process of its own, the machine behind it as three files, and a proxy in front of it.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quorumfence_drivers::fencing::conformance::{Bench, Obedience, Order, StormyBench, Weather};
use quorumfence_drivers::fencing::ipmi::Bmc;
use quorumfence_drivers::order::{DeviceAccess, FenceDevice, FenceSession};
use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{Outcome, Power, SystemUuid};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::proxy::Proxy;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/ipmi_sim");

/// A free port can be taken by somebody else between finding and using it.
const STARTS_MAX: usize = 5;

/// Longest time that a BMC takes to answer after its start, on a busy machine.
const START_MAX: Duration = Duration::from_secs(20);

/// Which BMC a bench has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Maker {
    /// OpenIPMI's simulator, which speaks suite 3 alone. It ends when it is given a Kg, and takes every account for an
    /// operator's, so those two are for pyghmi.
    Openipmi,
    /// pyghmi's fake BMC, in the suite that it is told.
    Pyghmi { suite: u8, kg: Option<&'static str> },
}

/// A BMC process and the machine behind it. The process ends with the bench.
pub(crate) struct BmcBench {
    maker: Maker,
    here: TempDir,
    child: Child,
    address: SocketAddr,
}

/// A bench behind a proxy that makes the weather.
pub(crate) struct ProxiedBench {
    bench: BmcBench,
    proxy: Proxy,
}

impl BmcBench {
    /// Starts a BMC whose machine is on, and waits until it answers.
    pub(crate) async fn start(maker: Maker) -> Self {
        for _ in 0..STARTS_MAX {
            let here = tempfile::tempdir().expect("a temporary directory");
            fs::write(here.path().join("power"), "1").expect("the machine's power");
            fs::write(here.path().join("orders"), "").expect("the machine's orders");
            let address = free_address();
            let child = match maker {
                Maker::Openipmi => start_openipmi(here.path(), address.port()),
                Maker::Pyghmi { suite, kg } => start_pyghmi(here.path(), address.port(), suite, kg),
            };
            let mut bench = Self { maker, here, child, address };
            if bench.answers().await {
                return bench;
            }
        }
        panic!("no BMC of {maker:?} answered in {STARTS_MAX} starts");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns an access to this BMC that works.
    pub(crate) fn access(&self) -> DeviceAccess {
        let (kg, suite) = match self.maker {
            Maker::Openipmi => (None, 3),
            Maker::Pyghmi { suite, kg } => (kg, suite),
        };
        DeviceAccess {
            address: self.address,
            user: "fence".into(),
            password: Secret::new("0perator"),
            kg: kg.map(Secret::new),
            suite: Some(suite),
        }
    }

    async fn answers(&mut self) -> bool {
        let device = self.device();
        let end = Instant::now() + START_MAX;
        while Instant::now() < end && self.child.try_wait().expect("a child of ours").is_none() {
            if let Outcome::Observed(session) = device.open(Duration::from_millis(500)).await {
                session.close().await;
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    fn file(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }
}

impl Drop for BmcBench {
    fn drop(&mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("a child of ours can be waited for");
    }
}

impl Bench for BmcBench {
    type Device = Bmc;

    fn device(&self) -> Bmc {
        Bmc::new(self.access()).expect("the access is usable")
    }

    fn device_with_wrong_password(&self) -> Option<Bmc> {
        let access = DeviceAccess { password: Secret::new("guessed"), ..self.access() };
        Some(Bmc::new(access).expect("the access is usable"))
    }

    fn machine(&self) -> Option<SystemUuid> {
        Some("33221100-5544-7766-8899-aabbccddeeff".parse().expect("a UUID"))
    }

    fn switch(&self, power: Power) {
        let text = match power {
            Power::On => "1",
            Power::Off => "0",
        };
        fs::write(self.file("power"), text).expect("the machine's power");
    }

    fn truth(&self) -> Power {
        match fs::read_to_string(self.file("power")).expect("the machine's power").trim() {
            "1" => Power::On,
            "0" => Power::Off,
            other => panic!("the machine's power is {other:?}"),
        }
    }

    fn obedience(&self, obedience: Obedience) {
        match obedience {
            Obedience::Follows => fs::remove_file(self.file("jammed")).expect("the machine was jammed"),
            Obedience::Ignores => fs::write(self.file("jammed"), "").expect("the machine can be jammed"),
        }
    }

    fn orders(&self) -> Vec<Order> {
        let words = fs::read_to_string(self.file("orders")).expect("the machine's orders");
        words.lines().map(|word| if word == "off" { Order::Off } else { Order::Other }).collect()
    }
}

impl ProxiedBench {
    pub(crate) async fn start(maker: Maker) -> Self {
        let bench = BmcBench::start(maker).await;
        let proxy = Proxy::start(bench.address).await;
        Self { bench, proxy }
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Returns an access through the proxy that works.
    pub(crate) fn access(&self) -> DeviceAccess {
        DeviceAccess { address: self.proxy.address(), ..self.bench.access() }
    }
}

impl Bench for ProxiedBench {
    type Device = Bmc;

    fn device(&self) -> Bmc {
        Bmc::new(self.access()).expect("the access is usable")
    }

    fn device_with_wrong_password(&self) -> Option<Bmc> {
        let access = DeviceAccess { password: Secret::new("guessed"), ..self.access() };
        Some(Bmc::new(access).expect("the access is usable"))
    }

    fn machine(&self) -> Option<SystemUuid> {
        self.bench.machine()
    }

    fn switch(&self, power: Power) {
        self.bench.switch(power);
    }

    fn truth(&self) -> Power {
        self.bench.truth()
    }

    fn obedience(&self, obedience: Obedience) {
        self.bench.obedience(obedience);
    }

    fn orders(&self) -> Vec<Order> {
        self.bench.orders()
    }
}

impl StormyBench for ProxiedBench {
    fn weather(&self, weather: Weather) {
        self.proxy.weather(weather);
    }

    fn logins(&self) -> usize {
        self.proxy.count(crate::proxy::RAKP_1)
    }
}

pub(crate) fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    socket.local_addr().expect("a bound socket has an address")
}

fn start_openipmi(here: &Path, port: u16) -> Child {
    for name in ["lan.conf", "sim.emu", "chassis.sh"] {
        let text = fs::read_to_string(Path::new(FIXTURES).join(name)).expect("a fixture of this repository");
        let path = here.to_str().expect("a temporary directory has a plain name");
        let text = text.replace("@HERE@", path).replace("@PORT@", &port.to_string());
        fs::write(here.join(name), text).expect("the simulator's file");
    }
    executable(&here.join("chassis.sh"));
    fs::create_dir(here.join("state")).expect("the simulator's state");
    let mut command = Command::new("ipmi_sim");
    command.current_dir(here).args(["-c", "lan.conf", "-f", "sim.emu", "-s", "state", "-n"]);
    spawn(command, "ipmi_sim is missing: install the Debian package openipmi")
}

fn start_pyghmi(here: &Path, port: u16, suite: u8, kg: Option<&str>) -> Child {
    let python = std::env::var("QUORUMFENCE_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let advice = "pyghmi is missing: run fixtures/ipmi_sim/install-pyghmi.sh <directory> and set \
                  QUORUMFENCE_TEST_PYTHON=<directory>/bin/python3";
    let found = Command::new(&python).args(["-c", "import pyghmi"]).stderr(Stdio::null()).status();
    assert!(found.is_ok_and(|status| status.success()), "{advice}");
    let mut command = Command::new(python);
    command
        .arg(Path::new(FIXTURES).join("pyghmi_bmc.py"))
        .arg(here)
        .args([port.to_string(), suite.to_string()])
        .args(kg);
    spawn(command, advice)
}

fn spawn(mut command: Command, advice: &str) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{advice} ({error})"))
}

fn executable(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).expect("a file of ours");
}
