//! libvirt on this host.
//!
//! ```text
//!  agent ──order──▶ Libvirt::call ──▶ a thread of its own ──▶ Session (one connection) ──▶ libvirtd
//!             ▲                │ deadline: Unknown(Timeout), the session is discarded
//!             └── changed() ◀──┴── events (lifecycle, metadata, connection closed)
//! ```
//!
//! Every libvirt call blocks and none can be cancelled. Each order therefore runs on a thread of its own, of which there
//! are at most [`CALLS_MAX`]; a hung one is given up with its connection and keeps its place until libvirt lets it go.
//! A thread that was given up before its order reached libvirt never sends it: see [`Session::still_wanted`].
//!
//! Definitions come out of libvirt with their passwords (`VIR_DOMAIN_XML_SECURE`); nothing here logs one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use quorumfence_machine::{Doubt, InstanceId, InstanceState, Outcome};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::order::{Domain, Hypervisor, StartOrder};

mod calls;
mod events;
mod memory;
mod session;

use events::News;
use memory::Memory;
use session::{Call, Link, Session};

/// Most libvirt calls at a time, hung ones included. Four hung calls mean that libvirt is gone: the fifth is `Busy`.
pub const CALLS_MAX: usize = 4;

/// The hypervisor of a libvirt connection URI.
#[derive(Debug)]
pub struct Libvirt {
    link: Arc<Link>,
    seats: Arc<Semaphore>,
    starting: Arc<Mutex<BTreeSet<InstanceId>>>,
    news: Arc<News>,
    memory: Memory,
}

impl Libvirt {
    /// Returns the hypervisor behind `uri`, such as `qemu:///system`. Connects with the first order.
    pub fn new(uri: &str) -> Self {
        let news = Arc::<News>::default();
        Self {
            link: Arc::new(Link::new(uri, Arc::clone(&news))),
            seats: Arc::new(Semaphore::new(CALLS_MAX)),
            starting: Arc::default(),
            news,
            memory: Memory::default(),
        }
    }

    /// Runs `order` on a thread of its own and waits for it until the deadline.
    async fn call<T: Send + 'static>(
        &self,
        call: Call,
        deadline: Duration,
        order: impl FnOnce(&Session) -> Result<T, Failure> + Send + 'static,
    ) -> Outcome<T> {
        let until = Instant::now() + deadline;
        let Ok(seat) = timeout_at(until, Arc::clone(&self.seats).acquire_owned()).await else {
            return Outcome::Unknown(Doubt::Busy);
        };
        let seat = seat.expect("the semaphore is never closed");
        let (tell, told) = oneshot::channel();
        let link = Arc::clone(&self.link);
        let started = thread::Builder::new().name("libvirt-call".into()).spawn(move || {
            let outcome = link.carry_out(call, until, order);
            drop(seat);
            if tell.send(outcome).is_err() {
                tracing::warn!(uri = link.uri(), "a libvirt call came back after it was given up");
            }
        });
        if let Err(error) = started {
            tracing::error!(uri = self.link.uri(), %error, "no thread for a libvirt call");
            return Outcome::Unknown(Doubt::Internal);
        }
        match timeout_at(until, told).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Unknown(Doubt::Internal),
            Err(_) => {
                tracing::warn!(
                    uri = self.link.uri(),
                    "a libvirt call did not answer in time; its connection is given up"
                );
                self.link.discard();
                Outcome::Unknown(Doubt::Timeout)
            }
        }
    }
}

impl Hypervisor for Libvirt {
    async fn inventory(&self, deadline: Duration) -> Outcome<Vec<Domain>> {
        let listed = self.call(Call::Read, deadline, calls::inventory).await;
        // What left while the list was made has told so by now, or does soon, and is listed then.
        listed.map(|domains| self.memory.with_migrated(domains, &self.news.migrated()))
    }

    async fn start(&self, order: StartOrder, deadline: Duration) -> Outcome<InstanceState> {
        // A start that was given up may still take effect in libvirt: until it came back nobody knows, and a second one
        // that fails must not be taken for an answer.
        let Some(turn) = Turn::take(&self.starting, order.instance) else {
            return Outcome::Unknown(Doubt::Busy);
        };
        self.call(Call::Change, deadline, move |session| {
            let started = calls::start(session, &order);
            drop(turn);
            started
        })
        .await
    }

    async fn stop(&self, instance: InstanceId, deadline: Duration) -> Outcome<InstanceState> {
        self.call(Call::Change, deadline, move |session| calls::stop(session, instance)).await
    }

    async fn changed(&self) {
        self.news.change.notified().await;
    }
}

/// One instance's start under way, from the order until libvirt came back, however late.
#[derive(Debug)]
struct Turn {
    starting: Arc<Mutex<BTreeSet<InstanceId>>>,
    instance: InstanceId,
}

impl Turn {
    /// Returns `None` while another start of the instance is under way.
    fn take(starting: &Arc<Mutex<BTreeSet<InstanceId>>>, instance: InstanceId) -> Option<Self> {
        let is_first = starting.lock().unwrap_or_else(PoisonError::into_inner).insert(instance);
        is_first.then(|| Self { starting: Arc::clone(starting), instance })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.starting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.instance);
    }
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// libvirt, or the way to it, said so.
    #[error("libvirt failed")]
    Libvirt(#[from] virt::error::Error),
    /// The order cannot be carried out, and libvirt was asked: the instance does not run.
    #[error("the start was refused")]
    Refused,
    /// The instance is not in the state that the order asked for.
    #[error("the instance is in another state than ordered")]
    Ambiguous,
    /// The deadline passed before the order was sent.
    #[error("the deadline passed before the order was sent")]
    Late,
}
