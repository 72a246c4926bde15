//! Clients: one after the other they write and read through any controller, and write down what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use quorumfence_machine::{Actor, Change, ControllerId, RequestId, Segment, SegmentId};
use quorumfence_raft::{Environment, ProposeError, ReadError, Replica};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::Sim;
use super::environment::SimEnvironment;
use super::network::Ether;
use super::record::Record;
use super::runtime::in_the_world;
use crate::chance::Chance;
use crate::observation::{Answer, Request, Seen};

/// Clients that work at the same time.
const CLIENTS: u64 = 3;

/// A client gives up after this long; what it asked for may still happen.
const PATIENCE: Duration = Duration::from_secs(12);

/// Clients at work.
#[derive(Debug)]
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Returns a run without clients.
    pub(super) fn none() -> Self {
        Self { stop: Arc::default(), tasks: Vec::new() }
    }

    /// Sends the clients home. Each ends the call that it is in.
    pub(super) fn send_home(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether the last one went.
    pub(super) fn are_gone(&self) -> bool {
        self.tasks.iter().all(JoinHandle::is_finished)
    }
}

impl Sim {
    /// Lets clients work until they are sent home.
    pub(super) fn open_for_clients(&self) -> Clients {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..CLIENTS).map(|number| {
            let client = Client {
                number,
                chance: Chance::new(self.seed, &format!("client {number}")),
                controllers: self.seats.keys().copied().collect(),
                ether: Arc::clone(&self.ether),
                record: self.record.clone(),
                calls: 0,
            };
            in_the_world(client.work(Arc::clone(&stop)))
        });
        let tasks = tasks.collect();
        Clients { stop, tasks }
    }

    /// Lets a controller's process do something that nobody waits for.
    pub(super) fn on<F>(&self, id: ControllerId, task: impl FnOnce(Replica<SimEnvironment>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(station) = self.ether.station(id) {
            drop(station.node.spawn(task(station.replica.clone())));
        }
    }
}

struct Client {
    number: u64,
    chance: Chance,
    controllers: Vec<ControllerId>,
    ether: Arc<Ether>,
    record: Record,
    calls: u64,
}

impl Client {
    async fn work(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(self.chance.between(100, 3000))).await;
            let Some(controller) = self.chance.pick(&self.controllers).copied() else { return };
            self.calls += 1;
            let call = self.calls * CLIENTS + self.number;
            if self.chance.percent(50) { self.write(call, controller).await } else { self.read(call, controller).await }
        }
    }

    /// Writes, and asks again under the same request id, elsewhere, when nobody knows what became of it.
    async fn write(&mut self, call: u64, controller: ControllerId) {
        let text = format!("call-{call:06}");
        self.record.see(Seen::Called { call, controller, request: Request::Write { text: text.clone() } });
        let Ok(id) = text.parse::<SegmentId>() else { return };
        let mut bytes = [0xcc; 16];
        bytes[..8].copy_from_slice(&call.to_be_bytes());
        let request = self.chance.percent(70).then_some(RequestId(bytes));
        let mut answer = Answer::Unknown("nobody was asked".into());
        let mut at = controller;
        for _ in 0..if request.is_some() { 3 } else { 1 } {
            let change = Change::SegmentCreate { segment: Segment { id: id.clone(), ..Segment::default() } };
            let propose = |replica: Replica<SimEnvironment>| async move {
                let by = Actor::Operator("client".into());
                match replica.propose(by, request, change).await {
                    Ok((index, _)) => Answer::Written(index),
                    Err(ProposeError::Rejected(why)) => Answer::Refused(why.to_string()),
                    Err(error) => Answer::Unknown(error.to_string()),
                }
            };
            answer = self.ask(at, propose).await;
            if !matches!(answer, Answer::Unknown(_)) {
                break;
            }
            at = self.chance.pick(&self.controllers).copied().unwrap_or(at);
        }
        self.record.see(Seen::Answered { call, answer });
    }

    async fn read(&self, call: u64, controller: ControllerId) {
        self.record.see(Seen::Called { call, controller, request: Request::Read });
        let answer = self.ask(controller, read).await;
        self.record.see(Seen::Answered { call, answer });
    }

    async fn ask<F>(&self, at: ControllerId, task: impl FnOnce(Replica<SimEnvironment>) -> F) -> Answer
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let Some(station) = self.ether.station(at) else {
            return Answer::Unknown("connection refused".into());
        };
        let asked = station.node.spawn(task(station.replica.clone()));
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Answer::Unknown("the connection was lost".into()),
            Err(_) => Answer::Unknown("no answer in time".into()),
        }
    }
}

/// Reads linearizably. Generic, because the compiler cannot show for a concrete runtime that its timeout is Send.
fn read<E: Environment>(replica: Replica<E>) -> BoxFuture<'static, Answer> {
    async move {
        match replica.linearizable().await {
            // What the state reflects when the caller looks, not what the leader promised.
            Ok(_) => Answer::Read(*replica.applied().borrow()),
            Err(error @ (ReadError::NoLeader(_) | ReadError::TimedOut | ReadError::Stopped)) => {
                Answer::Unknown(error.to_string())
            }
        }
    }
    .boxed()
}

/// Asks a leader to hand over. Whether it did shows in who leads.
pub(super) fn hand_over<E: Environment>(replica: Replica<E>) -> BoxFuture<'static, ()> {
    async move { drop(replica.hand_over(None).await) }.boxed()
}
