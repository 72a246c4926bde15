//! The agent of one host: it says that the host lives, what runs there, and carries out orders.
//!
//! ```text
//! links ──Ack, Order──▶ machine::Agent ──AskHolder, Carry──▶ orders ──▶ Link::holder, Hypervisor
//!   ▲                        │ Answer                          │
//!   ├────────────────────────┘◀────────── Input ───────────────┘        inventory ──Report──▶ links
//!   └──────Answer── keeper ◀── refused
//! ```
//!
//! Four tasks, so that neither a hypervisor nor a disk that hangs ever holds up a heartbeat. What an order may do is
//! decided by the pure [`machine::Agent`](quorumfence_machine::Agent), after the log itself said who holds the instance.

mod inventory;
mod keeper;
mod links;
mod message;
mod orders;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard};

use quorumfence_machine::{
    AgentReport, Answer, BootId, ControllerId, Doubt, HostId, Input, LogIndex, Millis, Outcome, Output, Refused,
    SystemUuid,
};
use quorumfence_raft::{Clock, Peer, Runtime};
use tokio::sync::{mpsc, watch};

use self::keeper::{Errands, Unkept};
pub(crate) use self::links::BACK_OFF_MAX;
pub use self::message::{Ack, AgentMessage, Beat, ControllerMessage, Controllers};
use self::orders::Job;
use crate::environment::{AgentEnvironment, Stop};

/// How long an acknowledged heartbeat counts for the lease, unless told otherwise.
pub const LEASE: Millis = Millis(10_000);

/// Jobs that wait. The pure agent has at most 1024 orders open, each with one job at a time.
const JOBS_MAX: usize = 2048;

/// Refusals that wait for the disk. The leader orders again what does not fit.
const UNKEPT_MAX: usize = 1024;

/// Hears the whole list of controllers when it changed, to keep it for the next start. It may block.
pub type Found = Box<dyn Fn(&Controllers) + Send + Sync>;

/// Keeps all refusals of this boot, so that they outlive the process; returns whether they are kept. What is not kept is
/// not answered. It may block, and is called once at a time.
pub type Keep = Box<dyn Fn(&[Refused]) -> bool + Send + Sync>;

/// What an agent is made of.
pub struct Setup<E: AgentEnvironment> {
    /// The host's name, as its certificate says.
    pub host: HostId,
    /// The running boot.
    pub boot: BootId,
    /// The machine's SMBIOS UUID, where it could be read.
    pub system_uuid: Option<SystemUuid>,
    /// Memory for instances, in MiB.
    pub memory_mib: u64,
    /// How long an acknowledged heartbeat counts.
    pub lease: Millis,
    /// The controllers known so far.
    pub controllers: Controllers,
    /// The hypervisor.
    pub hypervisor: E::Hypervisor,
    /// Reaches controllers.
    pub link: E::Link,
    /// Tells the time.
    pub clock: E::Clock,
    /// Hears of other controllers.
    pub found: Found,
    /// What an earlier process refused in this boot.
    pub refusals: Vec<Refused>,
    /// Keeps what this process refuses, for the next one.
    pub keep: Keep,
    /// Whether somebody may hold this agent at any step, and its hypervisor may be a simulated one.
    pub laboratory: bool,
}

/// A running agent.
pub struct Agent<E: AgentEnvironment> {
    shared: Arc<Shared<E>>,
    tasks: Arc<Mutex<Vec<Task<E>>>>,
}

type Task<E> = <<E as AgentEnvironment>::Runtime as Runtime>::JoinHandle<()>;

/// How an agent is. For people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whether the log admits this boot.
    pub admitted: bool,
    /// What is left of the lease.
    pub lease_left: Millis,
    /// The controllers that acknowledge heartbeats.
    pub attending: Vec<ControllerId>,
    /// All controllers that it knows.
    pub controllers: Vec<Peer>,
}

impl<E: AgentEnvironment> Agent<E> {
    /// Starts the tasks of an agent on the environment's runtime.
    pub fn start(setup: Setup<E>) -> Self {
        let (jobs, taken) = mpsc::channel(JOBS_MAX);
        let (unkept, refused) = mpsc::channel(UNKEPT_MAX);
        let mut controllers = setup.controllers;
        controllers.peers.sort();
        let mut machine = quorumfence_machine::Agent::new(setup.host.clone(), setup.boot, setup.lease);
        let ids: BTreeSet<ControllerId> = controllers.peers.iter().map(|peer| peer.id).collect();
        machine.recall(setup.refusals.iter().copied());
        let outputs = machine.handle(Input::Controllers(ids), setup.clock.now());
        assert!(outputs.is_empty(), "an agent without orders wants nothing done");
        let shared = Arc::new(Shared {
            host: setup.host,
            boot: setup.boot,
            system_uuid: setup.system_uuid,
            memory_mib: setup.memory_mib,
            hypervisor: setup.hypervisor,
            link: setup.link,
            clock: setup.clock,
            found: setup.found,
            keep: setup.keep,
            kept: Mutex::new(setup.refusals),
            unkept,
            cannot_refuse: AtomicBool::new(false),
            laboratory: setup.laboratory,
            machine: Mutex::new(machine),
            outbound: Mutex::default(),
            jobs,
            report: watch::Sender::new(None),
            list_as_of: watch::Sender::new(None),
            told: AtomicU64::new(0),
            controllers: watch::Sender::new(controllers.into()),
            stop: Stop::new(),
        });
        let errands = Errands { unkept: refused, controllers: shared.controllers.subscribe() };
        let tasks = vec![
            E::Runtime::spawn(keeper::run(Arc::clone(&shared), errands)),
            E::Runtime::spawn(links::run(Arc::clone(&shared))),
            E::Runtime::spawn(orders::run(Arc::clone(&shared), taken)),
            E::Runtime::spawn(inventory::run(Arc::clone(&shared))),
        ];
        Self { shared, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// Returns how the agent is.
    pub fn status(&self) -> Status {
        let (admitted, lease_left) = {
            let machine = self.shared.machine();
            (machine.is_admitted(), machine.lease_left(self.shared.clock.now()))
        };
        let outbound = self.shared.outbound();
        let attending = outbound.iter().filter(|(_, line)| line.is_acknowledged).map(|(id, _)| *id).collect();
        drop(outbound);
        Status { admitted, lease_left, attending, controllers: self.shared.controllers.borrow().peers.clone() }
    }

    /// Ends the tasks and waits for them. An order that the hypervisor is carrying out is given up.
    pub async fn shutdown(&self) {
        self.shared.stop.stop();
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("nothing panics while it holds the tasks"));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of this agent failed");
            }
        }
    }
}

impl<E: AgentEnvironment> Clone for Agent<E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), tasks: Arc::clone(&self.tasks) }
    }
}

impl<E: AgentEnvironment> fmt::Debug for Agent<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("host", &self.shared.host).finish_non_exhaustive()
    }
}

impl<E: AgentEnvironment> fmt::Debug for Setup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("host", &self.host).field("boot", &self.boot).finish_non_exhaustive()
    }
}

/// What the tasks of one agent share.
struct Shared<E: AgentEnvironment> {
    host: HostId,
    boot: BootId,
    system_uuid: Option<SystemUuid>,
    memory_mib: u64,
    hypervisor: E::Hypervisor,
    link: E::Link,
    clock: E::Clock,
    found: Found,
    keep: Keep,
    /// The refusals that are known to be kept.
    kept: Mutex<Vec<Refused>>,
    unkept: mpsc::Sender<Unkept>,
    cannot_refuse: AtomicBool,
    laboratory: bool,
    jobs: mpsc::Sender<Job>,
    report: watch::Sender<Option<Arc<AgentReport>>>,
    /// The entry that a controller wants a list as of.
    list_as_of: watch::Sender<Option<LogIndex>>,
    /// The last entry that this agent was told of by anybody.
    told: AtomicU64,
    controllers: watch::Sender<Arc<Controllers>>,
    stop: Stop,
    machine: Mutex<quorumfence_machine::Agent>,
    outbound: Mutex<BTreeMap<ControllerId, Line>>,
}

/// An open line to one controller.
#[derive(Debug)]
struct Line {
    messages: mpsc::Sender<AgentMessage>,
    is_acknowledged: bool,
}

impl<E: AgentEnvironment> Shared<E> {
    fn machine(&self) -> MutexGuard<'_, quorumfence_machine::Agent> {
        self.machine.lock().expect("nothing panics while it holds the machine")
    }

    fn outbound(&self) -> MutexGuard<'_, BTreeMap<ControllerId, Line>> {
        self.outbound.lock().expect("nothing panics while it holds the lines")
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Refused>> {
        self.kept.lock().expect("nothing panics while it holds the refusals")
    }

    /// Hands one input to the pure agent and has everything done that it wants. Never waits.
    fn handle(&self, input: Input) {
        let outputs = self.machine().handle(input, self.clock.now());
        for output in outputs {
            match output {
                Output::AskHolder { instance } => {
                    if self.jobs.try_send(Job::Ask { instance }).is_err() {
                        self.handle(Input::Holder { instance, holding: Outcome::Unknown(Doubt::Busy) });
                    }
                }
                Output::Carry { order } => {
                    let (instance, token) = (order.instance, order.token);
                    if self.jobs.try_send(Job::Carry { order }).is_err() {
                        self.handle(Input::Hypervisor { instance, token, outcome: Outcome::Unknown(Doubt::Busy) });
                    }
                }
                Output::Answer { to, answer } if self.is_unkept(&answer) => {
                    let waits = self.unkept.try_send(Unkept { to, answer }).is_ok();
                    tracing::debug!(host = %self.host, %to, waits, "a refusal waits for the disk");
                }
                Output::Answer { to, answer } => self.answer(to, answer),
                Output::Admitted(admitted) => {
                    tracing::info!(host = %self.host, boot = %self.boot, admitted, "admission changed")
                }
            }
        }
    }

    /// Returns whether an answer must not be given before the disk has it.
    fn is_unkept(&self, answer: &Answer) -> bool {
        match answer.outcome {
            Outcome::Refused(refusal) => {
                let refused = Refused { instance: answer.instance, token: answer.token, refusal };
                self.machine().refusals().contains(&refused) && !self.kept().contains(&refused)
            }
            Outcome::Observed(_) | Outcome::Unknown(_) => false,
        }
    }

    fn answer(&self, to: ControllerId, answer: Answer) {
        tracing::info!(host = %self.host, %to, instance = %answer.instance, token = %answer.token, outcome = ?answer.outcome, "order answered");
        let line = self.outbound().get(&to).map(|line| line.messages.clone());
        let sent = line.is_some_and(|line| line.try_send(AgentMessage::Answer(answer)).is_ok());
        // The leader orders again until it has an answer.
        tracing::debug!(host = %self.host, %to, sent, "answer handed over");
    }

    /// Takes the list of controllers that a controller told, unless it is older than what is known.
    fn learn(&self, controllers: &Arc<Controllers>) {
        let is_news = {
            let known = self.controllers.borrow();
            !controllers.peers.is_empty() && controllers.at >= known.at && **known != **controllers
        };
        if !is_news {
            return;
        }
        let ids = controllers.peers.iter().map(|peer| peer.id).collect();
        self.handle(Input::Controllers(ids));
        self.controllers.send_replace(Arc::clone(controllers));
    }
}
