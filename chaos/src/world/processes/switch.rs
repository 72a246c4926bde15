//! A network between namespaces, in bad weather: a user-space switch on TAP devices.
//!
//! ```text
//!   namespace a                    this process                    namespace b
//!   eth0 (TAP) --frames--> line a -> b: lose, double, hold, --> eth0 (TAP)
//!              <--frames-- line b -> a: bend, slow, cut     <--
//! ```
//!
//! Every directed pair of ports is a [`Line`](line::Line) with its own stream of chance, so one seed decides the fate
//! of the nth frame of each line. Which frame is the nth is up to the kernels and processes that send: a seed repeats the
//! weather, not a run.
//!
//! The TAP devices and the namespaces belong to open files of this process. When it ends, in whatever way, they are gone.

mod forward;
mod kernel;
mod line;
mod namespace;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use line::Line;
pub use line::{Counts, Weather};
pub use namespace::Namespace;

/// Of all that learned addresses are for, no laboratory has more guests than this. Frames to others are flooded.
const STATIONS_MAX: usize = 1024;

/// A switch. Dropping it removes its devices from their namespaces.
pub struct Switch {
    shared: Arc<Mutex<Shared>>,
    /// Wakes the thread that forwards; closing it ends the thread.
    wake: Option<PipeWriter>,
    forwarder: Option<JoinHandle<()>>,
}

/// A socket of the switch, with a device plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(usize);

/// The device that appears inside of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device<'a> {
    /// Its name there, at most 15 bytes.
    pub name: &'a str,
    /// Its address. The hardware address is made from it: `02:51` and these four bytes.
    pub address: Ipv4Addr,
    /// The length of the network's prefix.
    pub prefix_length: u8,
}

impl Device<'_> {
    /// Returns the hardware address that the device has.
    pub fn mac(&self) -> [u8; 6] {
        let [a, b, c, d] = self.address.octets();
        [0x02, 0x51, a, b, c, d]
    }
}

struct Shared {
    seed: u64,
    /// By the number of the port; a port that was unplugged stays empty.
    taps: Vec<Option<Arc<File>>>,
    lines: BTreeMap<(Port, Port), Line>,
    stations: BTreeMap<[u8; 6], Port>,
    weather: Weather,
    line_weather: BTreeMap<(Port, Port), Weather>,
    cut: BTreeSet<(Port, Port)>,
    isolated: BTreeSet<Port>,
}

impl Switch {
    /// Starts a switch without ports, in fair weather.
    pub fn new(seed: u64) -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared {
            seed,
            taps: Vec::new(),
            lines: BTreeMap::new(),
            stations: BTreeMap::new(),
            weather: Weather::FAIR,
            line_weather: BTreeMap::new(),
            cut: BTreeSet::new(),
            isolated: BTreeSet::new(),
        }));
        let (woken, wake) = io::pipe()?;
        let forwarder = std::thread::Builder::new().name("switch".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || forward::run(&shared, woken)
        })?;
        Ok(Self { shared, wake: Some(wake), forwarder: Some(forwarder) })
    }

    /// Makes a device inside of a namespace, with its address and up, and plugs it in.
    pub fn attach(&self, namespace: &Namespace, device: &Device<'_>) -> io::Result<Port> {
        let tap = namespace.run(|| {
            let tap = kernel::tap(device.name)?;
            kernel::configure(device)?;
            Ok::<File, io::Error>(tap)
        })??;
        let port = {
            let mut shared = self.lock();
            let port = Port(shared.taps.len());
            shared.taps.push(Some(Arc::new(tap)));
            shared.stations.insert(device.mac(), port);
            port
        };
        self.wake()?;
        Ok(port)
    }

    /// Removes a port with its device. What is under way to it is lost.
    pub fn detach(&self, port: Port) -> io::Result<()> {
        self.lock().unplug(port);
        self.wake()
    }

    /// Cuts the line from one port to another; the other way stays. Frames under way are lost.
    pub fn cut(&self, from: Port, to: Port) {
        self.lock().cut.insert((from, to));
    }

    /// Ends [`Self::cut`]. A port that was isolated as a whole stays so.
    pub fn join(&self, from: Port, to: Port) {
        self.lock().cut.remove(&(from, to));
    }

    /// Cuts everything from and to a port.
    pub fn isolate(&self, port: Port) {
        self.lock().isolated.insert(port);
    }

    /// Ends [`Self::isolate`]. Lines that were cut one by one stay so.
    pub fn rejoin(&self, port: Port) {
        self.lock().isolated.remove(&port);
    }

    /// Sets the weather on all lines that have none of their own. Frames under way keep their time.
    pub fn set_weather(&self, weather: Weather) {
        self.lock().weather = weather;
    }

    /// Sets the weather of one line, or lets it have everybody's again.
    pub fn set_line_weather(&self, from: Port, to: Port, weather: Option<Weather>) {
        let mut shared = self.lock();
        match weather {
            Some(weather) => shared.line_weather.insert((from, to), weather),
            None => shared.line_weather.remove(&(from, to)),
        };
    }

    /// Mends all lines and ports, and makes the weather fair everywhere.
    pub fn heal(&self) {
        let mut shared = self.lock();
        shared.cut.clear();
        shared.isolated.clear();
        shared.line_weather.clear();
        shared.weather = Weather::FAIR;
    }

    /// Returns what happened on a line so far.
    pub fn counts(&self, from: Port, to: Port) -> Counts {
        self.lock().lines.get(&(from, to)).map(|line| line.counts).unwrap_or_default()
    }

    /// Returns what happened on all lines so far.
    pub fn counts_of_all(&self) -> Counts {
        self.lock().lines.values().fold(Counts::default(), |sum, line| sum + line.counts)
    }

    fn wake(&self) -> io::Result<()> {
        let mut wake = self.wake.as_ref().expect("only drop takes it");
        wake.write_all(&[0])
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        drop(self.wake.take());
        if let Some(forwarder) = self.forwarder.take()
            && forwarder.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the thread that forwards has panicked");
        }
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").finish_non_exhaustive()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn is_cut(&self, from: Port, to: Port) -> bool {
        self.isolated.contains(&from) || self.isolated.contains(&to) || self.cut.contains(&(from, to))
    }

    fn weather_of(&self, from: Port, to: Port) -> Weather {
        self.line_weather.get(&(from, to)).copied().unwrap_or(self.weather)
    }

    fn line(&mut self, from: Port, to: Port) -> &mut Line {
        let seed = self.seed;
        self.lines.entry((from, to)).or_insert_with(|| Line::new(seed, from, to))
    }

    fn unplug(&mut self, port: Port) {
        self.taps[port.0] = None;
        self.stations.retain(|_, at| *at != port);
    }

    /// Returns the ports that a frame goes to, and learns where its sender is.
    fn route(&mut self, from: Port, frame: &[u8]) -> Vec<Port> {
        let Some((to, sender)) = addresses(frame) else { return Vec::new() };
        let is_unicast = |address: [u8; 6]| address[0] & 1 == 0;
        if is_unicast(sender) && (self.stations.len() < STATIONS_MAX || self.stations.contains_key(&sender)) {
            self.stations.insert(sender, from);
        }
        if let Some(port) = self.stations.get(&to).filter(|_| is_unicast(to)) {
            return if *port == from { Vec::new() } else { vec![*port] };
        }
        let plugged = self.taps.iter().enumerate().filter(|(_, tap)| tap.is_some());
        plugged.map(|(number, _)| Port(number)).filter(|port| *port != from).collect()
    }
}

/// Returns the hardware addresses of a frame's destination and source.
fn addresses(frame: &[u8]) -> Option<([u8; 6], [u8; 6])> {
    let (to, rest) = frame.split_first_chunk()?;
    Some((*to, *rest.first_chunk()?))
}
