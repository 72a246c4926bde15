//! Who is plugged in where: one namespace and one port of the switch for each controller, host and BMC.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::OnceLock;

use quorumfence_machine::HostId;

use super::switch::{self, Device, Namespace, Port, Switch};
use crate::fault::{Place, Weather};

/// The operator's and the clients' address. Nothing cuts it off but what cuts off the other end.
pub const OPERATOR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

const PREFIX_LENGTH: u8 = 16;

/// The network and what is wrong with it.
#[derive(Debug)]
pub(super) struct Net {
    switch: Switch,
    plugs: BTreeMap<Place, Plug>,
    cut: BTreeSet<(Place, Place)>,
    isolated: BTreeSet<Place>,
}

#[derive(Debug)]
struct Plug {
    namespace: Namespace,
    port: Port,
    address: Ipv4Addr,
}

impl Net {
    /// Starts the switch with the operator plugged in.
    pub(super) fn new(seed: u64) -> io::Result<Self> {
        let switch = Switch::new(seed)?;
        switch.attach(&operators_namespace()?, &device(OPERATOR))?;
        Ok(Self { switch, plugs: BTreeMap::new(), cut: BTreeSet::new(), isolated: BTreeSet::new() })
    }

    /// Gives a place a namespace of its own, with nothing of an earlier one, and plugs it in.
    pub(super) fn plug(&mut self, place: Place, address: Ipv4Addr) -> io::Result<()> {
        self.unplug(&place)?;
        let namespace = Namespace::new()?;
        let port = self.switch.attach(&namespace, &device(address))?;
        if self.isolated.contains(&place) {
            self.switch.isolate(port);
        }
        self.plugs.insert(place, Plug { namespace, port, address });
        let cut = self.cut.iter().filter_map(|(from, to)| Some((self.port(from)?, self.port(to)?)));
        cut.for_each(|(from, to)| self.switch.cut(from, to));
        Ok(())
    }

    /// Pulls a place's plug: what runs there can tell nobody that it ends.
    pub(super) fn unplug(&mut self, place: &Place) -> io::Result<()> {
        match self.plugs.remove(place) {
            Some(plug) => self.switch.detach(plug.port),
            None => Ok(()),
        }
    }

    /// Returns whether a place is plugged in.
    pub(super) fn has(&self, place: &Place) -> bool {
        self.plugs.contains_key(place)
    }

    /// Lets a command run at a place.
    pub(super) fn adopt<'a>(&self, place: &Place, command: &'a mut Command) -> &'a mut Command {
        self.plugs[place].namespace.adopt(command)
    }

    /// Opens a UDP socket at a place.
    pub(super) fn udp(&self, place: &Place, port: u16) -> io::Result<std::net::UdpSocket> {
        let plug = &self.plugs[place];
        let socket = plug.namespace.run(|| std::net::UdpSocket::bind((plug.address, port)))??;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    pub(super) fn cut(&mut self, from: Place, to: Place) {
        if let (Some(left), Some(right)) = (self.port(&from), self.port(&to)) {
            self.switch.cut(left, right);
        }
        self.cut.insert((from, to));
    }

    pub(super) fn join(&mut self, from: &Place, to: &Place) {
        if let (Some(left), Some(right)) = (self.port(from), self.port(to)) {
            self.switch.join(left, right);
        }
        self.cut.remove(&(from.clone(), to.clone()));
    }

    pub(super) fn isolate(&mut self, place: Place) {
        if let Some(port) = self.port(&place) {
            self.switch.isolate(port);
        }
        self.isolated.insert(place);
    }

    pub(super) fn rejoin(&mut self, place: &Place) {
        if let Some(port) = self.port(place) {
            self.switch.rejoin(port);
        }
        self.isolated.remove(place);
        let touches = |(from, to): &(Place, Place)| from == place || to == place;
        for (from, to) in self.cut.extract_if(.., |line| touches(line)).collect::<Vec<_>>() {
            self.join(&from, &to);
        }
    }

    pub(super) fn set_weather(&self, weather: Weather) {
        self.switch.set_weather(switch::Weather {
            loss_percent: weather.loss_percent,
            duplicate_percent: weather.duplicate_percent,
            jitter_max: weather.delay_max.into(),
            ..switch::Weather::FAIR
        });
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
        self.isolated.clear();
        self.switch.heal();
    }

    fn port(&self, place: &Place) -> Option<Port> {
        self.plugs.get(place).map(|plug| plug.port)
    }
}

/// Returns the namespace of this process's own sockets: one for its whole life.
pub(super) fn operators_namespace() -> io::Result<Namespace> {
    static MADE: OnceLock<Namespace> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made.clone());
    }
    let made = Namespace::new()?;
    Ok(MADE.get_or_init(|| made).clone())
}

/// Returns where a controller at an address is reached, `address:port`.
pub(super) fn endpoint(controller: Ipv4Addr) -> String {
    format!("{controller}:7420")
}

/// Returns the address of the `number`th machine for a controller.
pub(super) fn controller(number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    match high {
        0 => Ipv4Addr::new(10, 77, 1, low),
        _ => Ipv4Addr::new(10, 77, 64 + high % 128, low),
    }
}

/// Returns the address of host `number`.
pub(super) fn host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 2, number)
}

/// Returns the address of the BMC of host `number`.
pub(super) fn bmc(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 3, number)
}

/// Returns the place of a host's BMC.
pub(super) fn bmc_of(host: &HostId) -> Place {
    Place::Bmc(host.clone())
}

fn device(address: Ipv4Addr) -> Device<'static> {
    Device { name: "eth0", address, prefix_length: PREFIX_LENGTH }
}
