//! Concurrent clients of a real cluster, over the same gRPC and credentials as the command line.
//!
//! Each client asks one thing after the other, at a controller that chance names. What nobody answered is asked again
//! under the same request id, mostly elsewhere; some requests are sent again although they were answered. A client
//! that gives up writes down that nobody knows.

mod ask;
pub mod cluster;
mod workload;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorumfence_machine::{ControllerId, Millis};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::ask::{Ask, Heard, Told};
pub use self::cluster::Cluster;
use self::workload::Board;
use super::history::{Answer, History, Object, Operation, Record, Step};
use crate::chance::Chance;

/// What the clients do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides every choice of the clients, and nothing of the cluster's.
    pub seed: u64,
    /// Clients that work at the same time.
    pub clients: u64,
    /// How long they work.
    pub time: Duration,
    /// What they may do.
    pub workload: Workload,
    /// Stands between the clients and what they write down; nothing in a fair trial.
    pub shim: Option<Shim>,
}

/// What clients may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workload {
    /// Everything, with maintenance of these hosts: settings, arming, segments, join tokens and their use. Only for a
    /// cluster that was made for it.
    Full {
        /// The hosts, which are only names in the log.
        hosts: Vec<String>,
    },
    /// Reads, and join tokens for agents that nobody is given and that end after a second. Each leaves an entry and
    /// an event in the log, and its answer among those that are kept.
    Harmless {
        /// How many tokens at most.
        tokens: u64,
    },
}

/// Changes what a client was told, to show that the judge would notice.
#[derive(Clone)]
pub struct Shim(pub Arc<Distortion>);

/// From what was answered to what the client hears.
pub type Distortion = dyn Fn(&Object, Answer) -> Answer + Send + Sync;

impl fmt::Debug for Shim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shim")
    }
}

/// The cluster did not answer before the clients began, or after they went.
#[derive(Debug, thiserror::Error)]
#[error("the cluster does not answer: {0}")]
pub struct Silent(String);

/// The longest wait for a cluster that is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a request is sent before its client gives up.
const ATTEMPTS_MAX: u32 = 4;

/// After so many calls somebody looks who the controllers are.
const CALLS_PER_LOOK: u64 = 16;

/// A look takes no longer.
const LOOK: Duration = Duration::from_millis(1500);

/// Runs the clients until their time is over, and returns what they wrote down.
///
/// # Errors
/// When the cluster is silent at the beginning or at the end. What happens between is written down.
pub async fn run(cluster: &Cluster, plan: &Plan) -> Result<History, Silent> {
    let ledger = Arc::new(Ledger::new());
    let board = Arc::new(Board::new(plan));
    let stop = Arc::new(AtomicBool::new(false));
    let mut first = Client::new(0, cluster, plan, &ledger, &board);
    let before = first.newest_event().await?;
    board.begins_at(before + 1);
    first.open_objects().await?;
    let mut clients = JoinSet::new();
    for number in 1..=plan.clients {
        let client = Client::new(number, cluster, plan, &ledger, &board);
        clients.spawn(client.work(Arc::clone(&stop)));
    }
    sleep(plan.time).await;
    stop.store(true, Ordering::SeqCst);
    clients.join_all().await;
    first.close_objects().await?;
    first.read_log(before).await?;
    let records = std::mem::take(&mut *ledger.records.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(History { records })
}

impl Cluster {
    /// Returns what the cluster's log tells, oldest first.
    ///
    /// # Errors
    /// When no controller answers.
    pub async fn events(&self) -> Result<Vec<String>, Silent> {
        let workload = Workload::Harmless { tokens: 0 };
        let plan = Plan { seed: 0, clients: 0, time: Duration::ZERO, workload, shim: None };
        let (ledger, board) = (Arc::new(Ledger::new()), Arc::new(Board::new(&plan)));
        let mut client = Client::new(0, self, &plan, &ledger, &board);
        Ok(client.insist(&Ask::Events { from: 0 }).await?.effects)
    }
}

/// Where all clients write, in the order of time.
#[derive(Debug)]
struct Ledger {
    began: Instant,
    calls: AtomicU64,
    records: Mutex<Vec<Record>>,
}

impl Ledger {
    fn new() -> Self {
        Self { began: now(), calls: AtomicU64::new(0), records: Mutex::new(Vec::new()) }
    }

    fn write(&self, client: u64, step: Step) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
        records.push(Record { at, client, step });
    }
}

/// Returns the time of this machine: real clusters have no other.
#[expect(clippy::disallowed_methods, reason = "real clients wait in real time")]
fn now() -> Instant {
    Instant::now()
}

/// One thing to ask for, and what it means to the judge.
#[derive(Debug, Clone)]
struct Errand {
    object: Object,
    operation: Operation,
    effect: Option<String>,
    ask: Ask,
}

struct Client {
    number: u64,
    cluster: Cluster,
    chance: Chance,
    ledger: Arc<Ledger>,
    board: Arc<Board>,
    shim: Option<Shim>,
}

impl Client {
    fn new(number: u64, cluster: &Cluster, plan: &Plan, ledger: &Arc<Ledger>, board: &Arc<Board>) -> Self {
        Self {
            number,
            cluster: cluster.clone(),
            chance: Chance::new(plan.seed, &format!("client {number}")),
            ledger: Arc::clone(ledger),
            board: Arc::clone(board),
            shim: plan.shim.clone(),
        }
    }

    async fn work(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::SeqCst) {
            let call = self.ledger.calls.fetch_add(1, Ordering::SeqCst);
            if call.is_multiple_of(CALLS_PER_LOOK) {
                self.follow().await;
            }
            let errand = self.board.errand(call, &mut self.chance);
            if self.run(call, errand).await.is_break() {
                // Who has given up is in no hurry to ask again.
                sleep(Duration::from_millis(200)).await;
            }
            sleep(Duration::from_millis(self.chance.between(1, 80))).await;
        }
    }

    /// Looks who the controllers are, for they change.
    async fn follow(&mut self) {
        if let Some(controller) = self.chance.pick(&self.cluster.controllers()).copied() {
            // One that does not answer says nothing about the others.
            drop(self.cluster.follow(controller, LOOK).await);
        }
    }

    /// Makes one call; breaks when nobody knows what became of it.
    async fn run(&mut self, call: u64, errand: Errand) -> ControlFlow<()> {
        let Errand { object, operation, effect, ask } = errand;
        let begins = Step::Invoke { call, object: object.clone(), operation: operation.clone(), effect };
        self.ledger.write(self.number, begins);
        let mut in_doubt = false;
        let sent_once = operation == Operation::Peek;
        for _ in 0..if sent_once { 1 } else { ATTEMPTS_MAX } {
            let limit = Duration::from_millis(self.chance.between(150, 2500));
            match self.attempt(call, &ask, limit).await {
                Heard::Told(told) => {
                    let Told { answer, index, .. } = &told;
                    let answer =
                        self.shim.as_ref().map_or_else(|| answer.clone(), |shim| shim.0(&object, answer.clone()));
                    self.ledger.write(self.number, Step::Return { call, answer, index: *index });
                    self.board.learn(call, &object, told);
                    if ask.is_change() && !sent_once && self.chance.percent(15) {
                        self.attempt(call, &ask, Duration::from_millis(1500)).await;
                    }
                    return ControlFlow::Continue(());
                }
                Heard::Nothing(_) => {}
                Heard::Unknown(_) => in_doubt = true,
            }
            sleep(Duration::from_millis(self.chance.below(150))).await;
        }
        let answer = if in_doubt || !ask.is_change() { Answer::Unknown } else { Answer::Nothing };
        self.ledger.write(self.number, Step::Return { call, answer, index: None });
        ControlFlow::Break(())
    }

    /// Sends a request once, and writes down what was heard.
    async fn attempt(&mut self, call: u64, ask: &Ask, limit: Duration) -> Heard {
        let Some(controller) = self.chance.pick(&self.cluster.controllers()).copied() else {
            return Heard::Nothing("no controller is known".into());
        };
        let heard = ask.send(&mut self.cluster, controller, limit).await;
        let (reply, words) = match &heard {
            Heard::Told(told) => (told.reply.clone(), told.to_string()),
            Heard::Nothing(why) => (None, format!("nothing was done: {why}")),
            Heard::Unknown(why) => (None, format!("unknown: {why}")),
        };
        self.ledger.write(self.number, Step::Attempt { call, controller: controller.0, reply, words });
        heard
    }

    /// Asks every controller in turn until one answers; nothing of it is written down.
    async fn insist(&mut self, ask: &Ask) -> Result<Told, Silent> {
        let began = now();
        let mut last = String::new();
        while began.elapsed() < PATIENCE {
            for controller in self.cluster.controllers() {
                match ask.send(&mut self.cluster, controller, Duration::from_secs(5)).await {
                    Heard::Told(told) => return Ok(told),
                    Heard::Nothing(why) | Heard::Unknown(why) => last = format!("{controller}: {why}"),
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
        Err(Silent(last))
    }

    async fn newest_event(&mut self) -> Result<u64, Silent> {
        Ok(self.insist(&Ask::Events { from: 0 }).await?.index.unwrap_or(0))
    }

    async fn open_objects(&mut self) -> Result<(), Silent> {
        for (object, ask) in self.board.lasting() {
            let told = self.insist(&ask).await?;
            let Answer::Value(value) = told.answer else { continue };
            self.ledger.write(self.number, Step::Opens { object, value });
        }
        Ok(())
    }

    /// Reads everything that lasts once more: what nobody knew is often seen here.
    async fn close_objects(&mut self) -> Result<(), Silent> {
        for (object, ask) in self.board.lasting() {
            let call = self.ledger.calls.fetch_add(1, Ordering::SeqCst);
            let begins = Step::Invoke { call, object, operation: Operation::Read, effect: None };
            self.ledger.write(self.number, begins);
            let Told { answer, index, .. } = self.insist(&ask).await?;
            self.ledger.write(self.number, Step::Return { call, answer, index });
        }
        Ok(())
    }

    async fn read_log(&mut self, before: u64) -> Result<(), Silent> {
        let told = self.insist(&Ask::Events { from: before + 1 }).await?;
        let complete = told.first.is_none_or(|first| first == before + 1);
        self.ledger.write(self.number, Step::Log { complete, effects: told.effects });
        Ok(())
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.answer)?;
        self.index.map_or(Ok(()), |index| write!(f, ", log #{index}"))
    }
}

/// Returns a controller's name for people.
fn name(controller: ControllerId) -> String {
    controller.to_string()
}
