//! One controller: its replica, the loops around it, and what its faces ask of it.
//!
//! ```text
//!  agents ──attend──▶ board (View, reports) ──▶ watch: judge ──votes──▶ replica ◀──changes── leader: decide
//!                        ▲                        │                       │                     │
//!                        └──── evidence (BMC, ping, health)               └─── state.work() ──▶ executor
//! ```
//!
//! Every controller runs `watch`, and `deputy`, which makes the attempts at fences that are its turn; `leader` does
//! something only while its replica leads. All are level-triggered: what they do follows from the state and the board, and
//! nothing is lost when one of their steps is.

mod attendance;
mod board;
mod inventory;
mod moment;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::{FutureExt, Stream};
use quorumfence_machine::{
    EventRecord, Holder, Holding, HostId, InstanceId, Millis, Order, Outcome, Power, Report, Token, WallMillis,
};
use quorumfence_raft::{Clock, ReadError, Replica, Runtime};
use tokio::sync::{Notify, watch};

pub(crate) use self::board::{Board, Question};
pub(crate) use self::inventory::{differs, listed_in};
use self::moment::Moments;
pub use self::moment::{Kind, Moment};
pub(crate) use self::moment::{Mark, subject};
use crate::agent::{AgentMessage, ControllerMessage};
use crate::environment::{Environment, Stop};

/// What a controller is made of.
#[derive(Debug)]
pub struct Setup<E: Environment> {
    /// Its replica, open.
    pub replica: Replica<E>,
    /// Makes drivers of enrolled devices.
    pub devices: E::Devices,
    /// Looks at hosts from outside.
    pub probes: E::Probes,
    /// The clock that its replica has.
    pub clock: E::Clock,
}

/// A running controller.
pub struct Controller<E: Environment> {
    shared: Arc<Shared<E>>,
    tasks: Arc<Mutex<Vec<Task<E>>>>,
}

type Task<E> = <<E as quorumfence_raft::Environment>::Runtime as Runtime>::JoinHandle<()>;

/// What one controller sees of one host, in ages. For people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Glimpse {
    /// Age of the last heartbeat.
    pub heartbeat_age: Option<Millis>,
    /// What the agent said was left of its lease, in that heartbeat.
    pub lease_left: Option<Millis>,
    /// Whether its agent attends this controller.
    pub attending: bool,
    /// Whether the agent that attends is a laboratory's.
    pub laboratory: bool,
    /// Age of the last answer to a ping.
    pub ping_age: Option<Millis>,
    /// Age of the last answer of the health endpoint.
    pub health_age: Option<Millis>,
    /// What its BMC said last while heartbeats were late, and how long ago.
    pub power: Option<(Millis, Power)>,
    /// What the slow look at its fencing devices said.
    pub readiness: Option<Readiness>,
}

/// Whether a host could be fenced, found out before it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// When its devices were asked last.
    pub at: WallMillis,
    /// What each said, by address, level by level.
    pub outcomes: Vec<(String, Outcome<Power>)>,
    /// When every device of some level answered last.
    pub fenceable_at: Option<WallMillis>,
}

impl<E: Environment> Controller<E> {
    /// Starts the loops of a controller on the environment's runtime.
    pub fn start(setup: Setup<E>) -> Self {
        let Setup { replica, devices, probes, clock } = setup;
        let shared = Arc::new(Shared {
            replica,
            devices,
            probes,
            clock,
            board: Mutex::default(),
            moments: Moments::new(),
            news: Notify::new(),
            reports: Notify::new(),
            report: watch::Sender::new(Arc::default()),
            stop: Stop::new(),
            followed: Mutex::default(),
        });
        *shared.followed() = *shared.replica.events().borrow();
        shared.board().view.since = shared.clock.now();
        let tasks = vec![
            E::Runtime::spawn(crate::watch::run(Arc::clone(&shared))),
            E::Runtime::spawn(crate::leader::run(Arc::clone(&shared))),
            E::Runtime::spawn(crate::deputy::run(Arc::clone(&shared))),
        ];
        Self { shared, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// Ends the loops and every agent's stream, and waits for the loops. The replica stays its owner's.
    pub async fn shutdown(&self) {
        self.shared.stop.stop();
        self.shared.board().close();
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("nothing panics while it holds the tasks"));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a loop of this controller failed");
            }
        }
    }

    /// Returns the replica.
    pub fn replica(&self) -> &Replica<E> {
        &self.shared.replica
    }

    /// Attends one agent: takes what it says, and gives what to send back.
    ///
    /// `host` MUST come from the agent's certificate. The stream ends when `inbound` ends, when the same host attends
    /// anew, and at shutdown. Heartbeats count when the stream is polled.
    pub fn attend<S>(&self, host: HostId, inbound: S) -> impl Stream<Item = ControllerMessage> + Send + use<E, S>
    where
        S: Stream<Item = AgentMessage> + Send + 'static,
    {
        attendance::attend(Arc::clone(&self.shared), host, inbound)
    }

    /// Returns who may run an instance and which of its copies are to be stopped, confirmed by a quorum.
    pub async fn holder(&self, instance: InstanceId) -> Result<Holding, ReadError> {
        // Boxed, because the compiler cannot show for a concrete runtime that its timeout is Send in a trait's method.
        self.shared.replica.linearizable().boxed().await?;
        Ok(self.shared.replica.read(|state| {
            let holder = state.holder(&instance);
            let holder = holder.map(|(host, token, boot)| Holder { host: host.clone(), token, boot });
            Holding { holder, strays: state.strays(&instance) }
        }))
    }

    /// Returns why the leader holds back; empty while this controller does not lead.
    pub fn report(&self) -> watch::Receiver<Arc<Report>> {
        self.shared.report.subscribe()
    }

    /// Returns what this controller sees of a host.
    pub fn sight(&self, host: &HostId) -> Glimpse {
        self.shared.board().glimpse(host, self.shared.clock.now())
    }

    /// Returns what this controller sees of every host that it saw.
    pub fn sights(&self) -> BTreeMap<HostId, Glimpse> {
        let now = self.shared.clock.now();
        let board = self.shared.board();
        let seen = board.view.hosts.keys().chain(board.readiness.keys()).chain(board.attending.keys());
        seen.map(|host| (host.clone(), board.glimpse(host, now))).collect()
    }

    /// Returns the kept moments from number `first` on.
    pub fn moments_from(&self, first: u64) -> Vec<Moment> {
        self.shared.moments.from(first)
    }

    /// Returns the number of the newest moment.
    pub fn moments(&self) -> watch::Receiver<u64> {
        self.shared.moments.newest()
    }
}

impl<E: Environment> Clone for Controller<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), tasks: Arc::clone(&self.tasks) }
    }
}

impl<E: Environment> fmt::Debug for Controller<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller").field("id", &self.shared.replica.id()).finish_non_exhaustive()
    }
}

impl Board {
    fn glimpse(&self, host: &HostId, now: Millis) -> Glimpse {
        let sight = self.view.hosts.get(host);
        let presence = self.attending.get(host);
        Glimpse {
            heartbeat_age: sight.and_then(|sight| sight.heartbeat).map(|beat| now - beat.at),
            lease_left: presence.map(|presence| presence.lease_left),
            attending: presence.is_some(),
            laboratory: presence.is_some_and(|presence| presence.laboratory),
            ping_age: sight.and_then(|sight| sight.ping).map(|at| now - at),
            health_age: sight.and_then(|sight| sight.health).map(|at| now - at),
            power: sight.and_then(|sight| sight.power).map(|reading| (now - reading.at, reading.power)),
            readiness: self.readiness.get(host).cloned(),
        }
    }
}

/// What the loops of one controller share.
pub(crate) struct Shared<E: Environment> {
    pub(crate) replica: Replica<E>,
    pub(crate) devices: E::Devices,
    pub(crate) probes: E::Probes,
    pub(crate) clock: E::Clock,
    pub(crate) moments: Moments,
    /// Evidence arrived that may change a verdict.
    pub(crate) news: Notify,
    /// A report arrived that the state does not hold.
    pub(crate) reports: Notify,
    pub(crate) report: watch::Sender<Arc<Report>>,
    pub(crate) stop: Stop,
    board: Mutex<Board>,
    /// The number of the last event that was said.
    followed: Mutex<u64>,
}

impl<E: Environment> Shared<E> {
    /// Locks the board. Callers that also read the state MUST lock the state first.
    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().expect("nothing panics while it holds the board")
    }

    /// Notes that something happens to a host at this moment, after what was committed before it.
    ///
    /// Callers MUST NOT hold the state or the board.
    pub(crate) fn note(&self, host: &HostId, token: Option<Token>, kind: Kind) {
        self.follow_events();
        self.mark(host, token, kind);
    }

    /// Says once what each entry changed, in operators' words, and notes it.
    pub(crate) fn follow_events(&self) {
        let mut followed = self.followed();
        let records = self.replica.read(|state| state.events_from(*followed + 1).cloned().collect::<Vec<_>>());
        for record in records {
            *followed = record.sequence;
            let EventRecord { at, event, .. } = record;
            match subject(&event) {
                Some((host, Some(token))) => tracing::info!(at = at.0, %host, %token, "{event}"),
                Some((host, None)) => tracing::info!(at = at.0, %host, "{event}"),
                None => tracing::info!(at = at.0, "{event}"),
            }
            if let Some((host, token)) = subject(&event) {
                self.mark(host, token, Kind::Committed { at, event: event.clone() });
            }
        }
    }

    fn followed(&self) -> MutexGuard<'_, u64> {
        self.followed.lock().expect("nothing panics while it follows events")
    }

    fn mark(&self, host: &HostId, token: Option<Token>, kind: Kind) {
        let (at, wall) = (self.clock.now(), self.clock.wall());
        self.moments.note(Mark { at, wall, host: host.clone(), token, kind });
    }

    /// Hands an order to the agent's stream. Returns false when the agent does not attend or its stream is full.
    pub(crate) fn order(&self, host: &HostId, order: Order) -> bool {
        let orders = self.board().attending.get(host).map(|presence| presence.orders.clone());
        orders.is_some_and(|orders| orders.try_send(order).is_ok())
    }
}

#[cfg(test)]
mod tests;
