//! A seeded scheduler: openraft's `AsyncRuntime` over tokio's paused clock, with nodes that can be killed.
//!
//! Every task belongs to a node, and lives by that node's clock. Killing the node drops its tasks where they stand, as a power cut does. Chance comes
//! from the node's own generator, so that what one node draws does not depend on what another does.

#[cfg(test)]
mod tests;
mod time;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use openraft_rt::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::{TokioMpsc, TokioMutex, TokioOneshot, TokioRuntime, TokioWatch};
use quorumfence_raft::Point;
use rand::SeedableRng;
use rand::rngs::SmallRng;
pub use time::{Rate, SimInstant};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

/// A group of tasks that live and die together: one controller or one host.
#[derive(Debug)]
pub struct Node {
    dead: AtomicBool,
    paused: AtomicBool,
    /// Tasks that wanted to run while the node was paused.
    held: Mutex<Vec<Waker>>,
    tasks: Mutex<Vec<AbortHandle>>,
    chance: AtomicU64,
    born: Instant,
    rate: Rate,
    wall_offset_ms: AtomicI64,
    /// Where the next task that comes by stands still, and for how long.
    stalls: Mutex<BTreeMap<Point, Duration>>,
    /// Wakes whoever stands still.
    released: Notify,
    /// How often a task stood at each point.
    stood: Mutex<BTreeMap<Point, u64>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Node>>> = const { RefCell::new(None) };
}

impl Node {
    /// Makes a node that draws its chance from `seed`.
    pub fn new(seed: u64) -> Arc<Self> {
        Self::with_rate(seed, Rate::TRUE)
    }

    /// Makes a node whose clock and timers run at `rate`.
    pub fn with_rate(seed: u64, rate: Rate) -> Arc<Self> {
        Arc::new(Self {
            dead: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            held: Mutex::default(),
            tasks: Mutex::default(),
            chance: AtomicU64::new(seed),
            born: Instant::now(),
            rate,
            wall_offset_ms: AtomicI64::new(0),
            stalls: Mutex::default(),
            released: Notify::new(),
            stood: Mutex::default(),
        })
    }

    /// Returns the rate of the node's clock.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Returns by how much the node's wall clock is wrong.
    pub fn wall_offset_ms(&self) -> i64 {
        self.wall_offset_ms.load(Ordering::SeqCst)
    }

    /// Makes the node's wall clock jump to `offset_ms` from the true time. Its monotonic clock stays.
    pub fn jump_wall(&self, offset_ms: i64) {
        self.wall_offset_ms.store(offset_ms, Ordering::SeqCst);
    }

    /// Ends every task of the node at once. It never runs again, whether or not it was paused.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::SeqCst);
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns whether the node was killed.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Holds every task of the node, as a stopped process or a suspended machine does. Time goes on without it. A second
    /// pause changes nothing: the first [`Self::resume`] ends both.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// Lets the tasks go on, in an order that this node's chance draws: a process that wakes up may judge before it has
    /// read what waits in its sockets, or between two of them.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        let mut held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        while !held.is_empty() {
            let count = u64::try_from(held.len()).unwrap_or(u64::MAX);
            let next = usize::try_from(self.draw() % count).unwrap_or_default();
            held.swap_remove(next).wake();
        }
    }

    /// Makes the next task of the node that comes by `point` stand there for `time`.
    pub fn stall(&self, point: Point, time: Duration) {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner).insert(point, time);
    }

    /// Ends every stall: nobody stands still any more, and nobody will.
    pub fn end_stalls(&self) {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.released.notify_waiters();
    }

    /// Returns how often a task of the node stood at each point.
    pub fn stood(&self) -> BTreeMap<Point, u64> {
        self.stood.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns when the task that comes by `point` now may go on.
    pub(super) async fn pass(&self, point: Point) {
        let stall = self.stalls.lock().unwrap_or_else(PoisonError::into_inner).remove(&point);
        if let Some(stall) = stall {
            *self.stood.lock().unwrap_or_else(PoisonError::into_inner).entry(point).or_default() += 1;
            // Whichever it is, the task goes on.
            drop(tokio::time::timeout(stall, self.released.notified()).await);
        }
    }

    /// Returns the next random number of this node.
    pub fn draw(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        mix(self.chance.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP))
    }

    /// Spawns a task on this node.
    pub fn spawn<F>(self: &Arc<Self>, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let handle = in_the_world(Gate { node: Arc::clone(self), inner: Box::pin(task) });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(handle.abort_handle());
        if self.is_dead() {
            // Nobody would ever end it, and whoever waits for it would wait for ever.
            handle.abort();
        }
        handle
    }

    /// Returns the node whose task is being polled.
    pub(super) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Returns how long the world takes for what the current node measures as `duration`.
    fn to_world(duration: Duration) -> Duration {
        Self::current().map_or(duration, |node| node.rate.world(duration))
    }
}

/// Spawns a task that belongs to no node: what is under way on the network outlives its sender.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that spawns; the simulation's runtime drops it all at its end"
)]
pub(super) fn in_the_world<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(task)
}

/// SplitMix64's finalizer.
pub(super) fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Lets a task run only while its node lives, and tells it which node that is.
struct Gate<F> {
    node: Arc<Node>,
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for Gate<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.node.is_dead() {
            return Poll::Pending;
        }
        if self.node.paused.load(Ordering::SeqCst) {
            let mut held = self.node.held.lock().unwrap_or_else(PoisonError::into_inner);
            if !held.iter().any(|waker| waker.will_wake(context.waker())) {
                held.push(context.waker().clone());
            }
            return Poll::Pending;
        }
        let before = CURRENT.replace(Some(Arc::clone(&self.node)));
        let polled = self.inner.as_mut().poll(context);
        CURRENT.set(before);
        polled
    }
}

/// The runtime of everything in the simulation.
#[derive(Debug)]
pub struct SimRuntime;

impl AsyncRuntime for SimRuntime {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = SimInstant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let node = Node::current().expect("everything in the simulation runs on a node");
        node.spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(Node::to_world(duration))
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        tokio::time::sleep_until(deadline.in_the_world())
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        tokio::time::timeout(Node::to_world(duration), future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        tokio::time::timeout_at(deadline.in_the_world(), future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        error.is_panic()
    }

    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(Node::current().map_or(0, |node| node.draw()))
    }

    fn new(_threads: usize) -> Self {
        Self
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        <TokioRuntime as AsyncRuntime>::new(1).block_on(future)
    }

    fn spawn_blocking<F, T>(work: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        std::future::ready(Ok(work()))
    }
}
