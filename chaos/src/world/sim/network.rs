//! A simulated network: every message takes its own time, bad weather loses and doubles some, and cut lines carry none.
//!
//! What was sent is the network's: it arrives even when its sender dies, or stopped waiting, meanwhile.

mod bmc;
mod link;
#[cfg(test)]
mod tests;
mod transport;
mod wired;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use bmc::SimBmc;
pub use link::SimLink;
use openraft_rt::AsyncRuntime;
use quorumfence_drivers::lab::Laboratory;
use quorumfence_machine::{ControllerId, HostId};
use quorumfence_node::controller::Controller;
use quorumfence_raft::Replica;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
pub use transport::SimTransport;

use super::environment::SimEnvironment;
use super::runtime::{Node, SimRuntime, in_the_world, mix};

/// Somebody who sends and receives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A controller.
    Controller(ControllerId),
    /// A host.
    Host(HostId),
    /// The BMC of a host. It has power when its host has none.
    Bmc(HostId),
}

/// What the network does to messages on lines that are not cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Of a hundred messages, how many are lost. A stream sends them again, so there they are only late.
    pub loss_percent: u8,
    /// Of a hundred requests that may arrive twice (between replicas, and questions for holders), how many do.
    pub duplicate_percent: u8,
    /// The longest time on the way, in whole milliseconds. The shortest is one.
    pub delay_max: Duration,
}

impl Weather {
    /// Nothing is lost or doubled, and everything is quick.
    pub const FAIR: Self = Self { loss_percent: 0, duplicate_percent: 0, delay_max: Duration::from_millis(3) };
}

/// What a witness at the network hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A controller sends an off order to a BMC, whether or not it will arrive.
    OffSent {
        /// Who sends it.
        controller: ControllerId,
        /// The host whose BMC is meant.
        host: HostId,
    },
}

/// Hears of events at their moment. MUST NOT block, and may call the network.
pub type Witness = Arc<dyn Fn(NetworkEvent) + Send + Sync>;

/// A controller as the network reaches it.
#[derive(Clone)]
pub(super) struct Station {
    pub(super) node: Arc<Node>,
    pub(super) replica: Replica<SimEnvironment>,
    pub(super) controller: Option<Controller<SimEnvironment>>,
}

/// What everything in one simulation shares.
pub struct Ether {
    pub(super) laboratory: Laboratory,
    opened: Instant,
    delays: Arc<Node>,
    losses: Arc<Node>,
    duplicates: Arc<Node>,
    inner: Mutex<Inner>,
}

struct Inner {
    stations: BTreeMap<ControllerId, Station>,
    /// Places that nothing leaves and nothing reaches.
    isolated: BTreeSet<Place>,
    /// Lines that carry nothing, from one place to another.
    cut: BTreeSet<(Place, Place)>,
    weather: Weather,
    witness: Option<Witness>,
    trace: Vec<String>,
}

impl Ether {
    pub(super) fn new(laboratory: Laboratory, seed: u64) -> Arc<Self> {
        let inner = Inner {
            stations: BTreeMap::new(),
            isolated: BTreeSet::new(),
            cut: BTreeSet::new(),
            weather: Weather::FAIR,
            witness: None,
            trace: Vec::new(),
        };
        let hardware = laboratory.clone();
        in_the_world(async move { hardware.run().await });
        Arc::new(Self {
            laboratory,
            opened: Instant::now(),
            delays: Node::new(seed),
            losses: Node::new(mix(seed ^ 1)),
            duplicates: Node::new(mix(seed ^ 2)),
            inner: Mutex::new(inner),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn install(&self, id: ControllerId, station: Station) {
        self.lock().stations.insert(id, station);
    }

    pub(super) fn station(&self, id: ControllerId) -> Option<Station> {
        self.lock().stations.get(&id).cloned()
    }

    pub(super) fn remove(&self, id: ControllerId) -> Option<Station> {
        self.lock().stations.remove(&id)
    }

    /// Cuts the line from one place to another; the other way stays.
    pub fn cut(&self, from: Place, to: Place) {
        self.note(format_args!("cut {from:?} -> {to:?}"));
        self.lock().cut.insert((from, to));
    }

    /// Cuts everything from and to a place.
    pub fn cut_all(&self, place: Place) {
        self.note(format_args!("cut {place:?}"));
        self.lock().isolated.insert(place);
    }

    /// Mends the line from one place to another. A place that was cut off as a whole stays so.
    pub fn heal(&self, from: &Place, to: &Place) {
        self.note(format_args!("heal {from:?} -> {to:?}"));
        self.lock().cut.remove(&(from.clone(), to.clone()));
    }

    /// Ends [`Self::cut_all`] of a place. Lines that were cut one by one stay so.
    pub fn heal_place(&self, place: &Place) {
        self.note(format_args!("heal {place:?}"));
        self.lock().isolated.remove(place);
    }

    /// Mends every line and every place. The weather stays.
    pub fn heal_all(&self) {
        self.note(format_args!("heal all"));
        let mut inner = self.lock();
        inner.cut.clear();
        inner.isolated.clear();
    }

    /// Sets what happens to messages from here on; those under way keep their time.
    pub fn set_weather(&self, weather: Weather) {
        self.note(format_args!("{weather:?}"));
        self.lock().weather = weather;
    }

    /// Sets who hears of what controllers send.
    pub fn set_witness(&self, witness: Witness) {
        self.lock().witness = Some(witness);
    }

    /// Writes a line into the trace, with the simulated time.
    pub fn note(&self, line: fmt::Arguments<'_>) {
        let at = self.opened.elapsed().as_millis();
        self.lock().trace.push(format!("{at} {line}"));
    }

    /// Returns everything that was noted so far.
    pub fn trace(&self) -> Vec<String> {
        self.lock().trace.clone()
    }

    fn tell(&self, event: NetworkEvent) {
        let witness = self.lock().witness.clone();
        if let Some(witness) = witness {
            witness(event);
        }
    }

    /// Returns whether a place has no power or no process.
    fn is_dark(&self, place: &Place) -> bool {
        match place {
            Place::Host(host) => !self.laboratory.is_on(host),
            Place::Controller(id) => !self.lock().stations.contains_key(id),
            Place::Bmc(_) => false,
        }
    }

    fn is_cut(&self, from: &Place, to: &Place) -> bool {
        let inner = self.lock();
        let is_isolated = inner.isolated.contains(from) || inner.isolated.contains(to);
        is_isolated || inner.cut.contains(&(from.clone(), to.clone()))
    }

    /// Takes one message from a place to another; returns whether it arrived.
    async fn carry(&self, from: &Place, to: &Place, what: &str) -> bool {
        match self.depart(from, to) {
            Some(passage) => self.arrive(from, to, what, passage).await,
            None => false,
        }
    }

    /// Lets a message leave, at once; `None` when it cannot.
    fn depart(&self, from: &Place, to: &Place) -> Option<Passage> {
        let weather = self.lock().weather;
        let longest = u64::try_from(weather.delay_max.as_millis()).unwrap_or(u64::MAX).max(1);
        let delay = Duration::from_millis(1 + self.delays.draw() % longest);
        let is_lost = self.losses.draw() % 100 < u64::from(weather.loss_percent);
        let can_leave = !self.is_dark(from) && !self.is_cut(from, to);
        can_leave.then_some(Passage { delay, is_lost })
    }

    /// Takes a message that left to its place. Its sender may be gone meanwhile.
    async fn arrive(&self, from: &Place, to: &Place, what: &str, passage: Passage) -> bool {
        sleep(passage.delay).await;
        let arrived = !passage.is_lost && !self.is_dark(to) && !self.is_cut(from, to);
        self.note(format_args!("{from:?} -> {to:?} {what} {}", if arrived { "arrived" } else { "lost" }));
        arrived
    }

    /// Sends a request and waits for its first answer until the deadline; afterwards nobody knows what became of it.
    async fn ask<T, F>(self: &Arc<Self>, errand: Errand, deadline: Duration, serve: impl Fn() -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let mut answers = self.send(&errand, serve);
        let answered = async {
            match answers.recv().await {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        };
        SimRuntime::timeout(deadline, answered).await.ok()
    }

    /// Sends a request. `serve` is polled where and when it arrives; its answer comes back over the same line.
    fn send<T, F>(self: &Arc<Self>, errand: &Errand, serve: impl Fn() -> F) -> mpsc::Receiver<T>
    where
        T: Send + 'static,
        F: Future<Output = Option<T>> + Send + 'static,
    {
        let is_doubled = match errand.arrives {
            Arrives::Once => false,
            Arrives::PerhapsTwice => self.duplicates.draw() % 100 < u64::from(self.lock().weather.duplicate_percent),
        };
        let (answer, answers) = mpsc::channel(2);
        for _ in 0..=u8::from(is_doubled) {
            let (ether, answer, serving) = (Arc::clone(self), answer.clone(), serve());
            let Errand { from, to, what, arrives: _ } = errand.clone();
            let Some(passage) = self.depart(&from, &to) else { continue };
            in_the_world(async move {
                if !ether.arrive(&from, &to, &what, passage).await {
                    return;
                }
                let Some(served) = serving.await else { return };
                if ether.carry(&to, &from, &format!("{what} answered")).await {
                    // The caller may have given up; then nobody wants the answer.
                    drop(answer.try_send(served));
                }
            });
        }
        answers
    }
}

impl fmt::Debug for Ether {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ether").finish_non_exhaustive()
    }
}

/// What happens to a message on its way.
#[derive(Debug, Clone, Copy)]
struct Passage {
    delay: Duration,
    is_lost: bool,
}

/// A request on its way.
#[derive(Debug, Clone)]
struct Errand {
    from: Place,
    to: Place,
    /// What it is, for the trace.
    what: String,
    arrives: Arrives,
}

/// How often a request can arrive.
#[derive(Debug, Clone, Copy)]
enum Arrives {
    Once,
    PerhapsTwice,
}

/// Waits until something holds, looking every simulated 20 ms; returns whether it did within `deadline`.
pub(super) async fn wait_until<F>(deadline: Duration, mut holds: impl FnMut() -> F) -> bool
where
    F: Future<Output = bool>,
{
    let end = Instant::now() + deadline;
    while Instant::now() < end {
        if holds().await {
            return true;
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}
