//! The replica: one member of the group, with the replicated state in memory.

mod ask;
mod handle;
mod leadership;
mod members;
mod start;
mod state_machine;
mod status;
mod witness;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use quorumfence_machine::{ClusterTime, ControllerId, LogIndex, State};
use quorumfence_storage::{DurableLog, Expect, Fatal, Identity};
use tokio::sync::watch;

pub use leadership::Leadership;
pub use members::Members;
pub use status::{Follower, Status};
pub use witness::{Passage, Said, Witness};

use crate::codec::Codec;
use crate::types::TypeConfig;
use crate::{Environment, OpenError, Options, Runtime};
use leadership::ClusterClock;
use state_machine::{Shared, StateMachine};

/// What a replica is opened with.
pub struct Setup<E: Environment> {
    /// Whose database it is.
    pub identity: Identity,
    /// Whether the cluster knows this node already.
    pub expect: Expect,
    /// Timing and retention.
    pub options: Options,
    /// The database.
    pub kv: E::Kv,
    /// The folder of snapshots.
    pub files: E::Files,
    /// Calls peers.
    pub transport: E::Transport,
    /// Tells the time.
    pub clock: E::Clock,
    /// What happens when the disk fails.
    pub fatal: Fatal,
    /// Who sees every entry as it is applied.
    pub witness: Option<Arc<dyn Witness>>,
}

/// One member of the group. Clones are handles of the same replica.
///
/// Reads are local and may be old; [`Replica::linearizable`] makes them fresh. Whatever is proposed goes through the
/// leader, wherever it is. Dropping all handles does not stop the replica: [`Replica::shutdown`] does.
pub struct Replica<E: Environment> {
    inner: Arc<Inner<E>>,
}

pub(crate) type Raft<E> = openraft::Raft<TypeConfig<<E as Environment>::Runtime>, StateMachine<E>>;

struct Inner<E: Environment> {
    me: ControllerId,
    options: Arc<Options>,
    raft: Raft<E>,
    durable: DurableLog<TypeConfig<E::Runtime>, E::Kv, Codec>,
    shared: Arc<Shared>,
    transport: E::Transport,
    clock: E::Clock,
    cluster_clock: Arc<ClusterClock<E::Clock>>,
    leadership: watch::Receiver<Leadership>,
    /// Why consensus ended, once it did.
    ended: watch::Receiver<Option<String>>,
    closing: AtomicBool,
    publisher: Mutex<Option<<E::Runtime as Runtime>::JoinHandle<()>>>,
}

impl<E: Environment> Replica<E> {
    /// Opens the database and starts taking part. Must be called inside the environment's runtime.
    pub async fn open(setup: Setup<E>) -> Result<Self, OpenError> {
        start::open(setup).await
    }

    /// Returns this node's id.
    pub fn id(&self) -> ControllerId {
        self.inner.me
    }

    pub(crate) fn raft(&self) -> &Raft<E> {
        &self.inner.raft
    }

    pub(crate) fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Looks at the state as this replica has applied it. It may be old. `look` must be short: applying waits for it.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        self.inner.shared.read(look)
    }

    /// Watches who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Watches the last entry that is applied and durable here.
    pub fn applied(&self) -> watch::Receiver<LogIndex> {
        self.inner.shared.applied()
    }

    /// Watches the number of the newest event. `State::events_from` returns the events themselves, so none is missed.
    pub fn events(&self) -> watch::Receiver<u64> {
        self.inner.shared.events()
    }

    /// Returns the cluster's clock as this leader continues it; `None` when this node does not lead.
    pub fn cluster_time(&self) -> Option<ClusterTime> {
        self.inner.leadership.borrow().lead_term.map(|term| self.inner.cluster_clock.read(term, &self.inner.shared))
    }

    /// Asks for a snapshot and returns before it is taken. Nothing happens when the replica stopped.
    pub async fn snapshot(&self) {
        if let Err(error) = self.inner.raft.trigger().snapshot().await {
            tracing::warn!(node = %self.inner.me, %error, "no snapshot can be taken");
        }
    }

    /// Waits until the replica stops by itself and returns why. The process must end then: this node no longer takes
    /// part. Never returns after [`Replica::shutdown`].
    pub async fn wait_for_fatal(&self) -> String {
        let mut ended = self.inner.ended.clone();
        let why = match ended.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "its publisher ended".into(),
        };
        if self.inner.closing.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        why
    }

    /// Stops taking part and waits until every task of the replica ended.
    pub async fn shutdown(&self) {
        self.inner.closing.store(true, Ordering::SeqCst);
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(node = %self.inner.me, %error, "consensus did not stop in order");
        }
        let publisher = self.inner.publisher.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(publisher) = publisher
            && let Err(error) = publisher.await
        {
            tracing::warn!(node = %self.inner.me, %error, "the leadership's publisher did not stop in order");
        }
    }
}

impl<E: Environment> Clone for Replica<E> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<E: Environment> fmt::Debug for Replica<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("id", &self.inner.me).finish_non_exhaustive()
    }
}

impl<E: Environment> fmt::Debug for Setup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("identity", &self.identity)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
