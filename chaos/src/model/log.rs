//! The replicated log as one sequence. Every state that it leads to is kept once and named by a number.
//!
//! The machine's own `State::apply` runs once per distinct step, so a state of the model is a few numbers, and cheap to
//! compare and to hash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorumfence_machine::{
    Actor, Change, ClusterTime, Command, Digest, Event, Evidence, Heartbeat, InstanceState, LogIndex, Millis, OffSeen,
    Outcome, Refusal, Sight, State, Token, Verdict, View, Vote, decide,
};

use super::bootstrap::{STEP, clock, command, report};
use super::facts::Facts;
use super::guard::Guard;
use super::lifted;
use super::numbers;
use super::world::{Answer, Boot, ControllerNumber, HostNumber, INSTANCE};

/// The number of one state that the log leads to. The founded cluster is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogNumber(pub u32);

/// The number of one distinct change that a leader decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChangeNumber(pub u16);

/// One entry of the model. What a quorum says is one entry here, and one of each controller in the machine's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Entry {
    /// All controllers vote a host unreachable.
    Condemned(HostNumber),
    /// All controllers vote a boot of a host alive.
    Heard(HostNumber, Boot),
    /// An agent's report.
    Reported(HostNumber, Boot, bool),
    /// What a leader decided.
    Decided(ControllerNumber, ChangeNumber),
    /// A permit.
    Granted {
        /// The decision.
        token: Token,
        /// Who may act.
        executor: ControllerNumber,
        /// The level.
        level: u8,
    },
    /// What an executor saw.
    Result {
        /// The decision.
        token: Token,
        /// The permit.
        permit: LogIndex,
        /// Off was read twice; otherwise nobody knows.
        off: bool,
    },
    /// An agent's answer.
    Answered(Answer),
}

/// One state that the log leads to.
#[derive(Debug)]
pub(super) struct Node {
    /// The machine's state.
    pub state: State,
    /// What the model asks of it.
    pub facts: Facts,
    /// Entries since the founding.
    pub entries: u8,
    /// What happened on the way that the state does not tell.
    pub past: Past,
}

/// What happened on the way to a state that the state does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Past {
    /// Whether at some moment a fence of every host was decided.
    pub total_loss: bool,
    /// Whether a report told of a reboot that no vote told of.
    pub reboot: bool,
    /// The index of the newest plan.
    pub plan: u64,
}

/// The log.
#[derive(Debug)]
pub(super) struct Log {
    without: Option<Guard>,
    controllers: u8,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    nodes: Vec<Arc<Node>>,
    numbers: BTreeMap<(Digest, u8, Past), LogNumber>,
    steps: BTreeMap<(LogNumber, Entry, u8), Option<LogNumber>>,
    changes: Vec<Change>,
    decisions: BTreeMap<(LogNumber, u8, u8), Arc<[ChangeNumber]>>,
}

impl Log {
    pub(super) fn new(founded: State, controllers: u8, without: Option<Guard>) -> Self {
        let log = Self { without, controllers, inner: Mutex::default() };
        log.inner().number(numbers::forgetful(&founded), 0, Past::default());
        log
    }

    pub(super) fn node(&self, number: LogNumber) -> Arc<Node> {
        Arc::clone(&self.inner().nodes[number.0 as usize])
    }

    pub(super) fn change(&self, number: ChangeNumber) -> Change {
        self.inner().changes[usize::from(number.0)].clone()
    }

    /// Returns where an entry leads; `None` when the machine rejects it.
    ///
    /// A rejected entry changes nothing but the cluster's clock, which the next entry sets as well.
    pub(super) fn commit(&self, number: LogNumber, entry: Entry, now: u8) -> Option<LogNumber> {
        let mut inner = self.inner();
        if let Some(known) = inner.steps.get(&(number, entry, now)) {
            return *known;
        }
        let node = Arc::clone(&inner.nodes[number.0 as usize]);
        let commands = inner.commands(self.controllers, entry, now);
        let (mut state, mut past) = (node.state.clone(), node.past);
        let events = apply(&mut state, &mut past, self.without, &commands);
        let next = events.map(|_| inner.number(numbers::forgetful(&state), node.entries + 1, past));
        inner.steps.insert((number, entry, now), next);
        next
    }

    /// Returns what the machine answered to an entry, in an operator's words.
    pub(super) fn events(&self, number: LogNumber, entry: Entry, now: u8) -> Vec<Event> {
        let inner = self.inner();
        let commands = inner.commands(self.controllers, entry, now);
        let node = &inner.nodes[number.0 as usize];
        let (mut state, mut past) = (node.state.clone(), node.past);
        apply(&mut state, &mut past, self.without, &commands).unwrap_or_default()
    }

    /// Returns what a leader that has applied the log so far proposes, when it hears the hosts of `fresh`, a bit each.
    pub(super) fn decisions(&self, number: LogNumber, now: u8, fresh: u8) -> Arc<[ChangeNumber]> {
        let mut inner = self.inner();
        if let Some(known) = inner.decisions.get(&(number, now, fresh)) {
            return Arc::clone(known);
        }
        let node = Arc::clone(&inner.nodes[number.0 as usize]);
        let state = lifted::as_the_leader_sees_it(self.without, &node.state);
        let decided = decide(&state, &view(&state, now, fresh), Millis::ZERO).changes;
        let numbers: Arc<[ChangeNumber]> = decided.into_iter().map(|change| inner.change_number(change)).collect();
        inner.decisions.insert((number, now, fresh), Arc::clone(&numbers));
        numbers
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A leader's view: a fresh heartbeat, of the boot that the log knows, from each of these hosts.
fn view(state: &State, now: u8, fresh: u8) -> View {
    let mut view = View { leading: Some((Millis::ZERO, clock(now))), ..View::default() };
    for host in state.hosts().filter(|host| fresh >> HostNumber::of(&host.id).0 & 1 == 1) {
        let boot = host.agent.as_ref().map(|agent| agent.boot);
        let heartbeat = boot.map(|boot| Heartbeat {
            at: Millis::ZERO,
            boot,
            steady_since: Millis::ZERO,
            next_within: Millis::ZERO,
        });
        view.hosts.insert(host.id.clone(), Sight { heartbeat, ..Sight::default() });
    }
    view
}

/// Applies commands in a row. `None` when the machine rejects the last.
fn apply(state: &mut State, past: &mut Past, without: Option<Guard>, commands: &[Command]) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    for command in commands {
        let at = numbers::of(state, past, &command.change);
        let applied = match without {
            Some(guard) => lifted::apply(guard, state, at, command),
            None => state.apply(at, command),
        };
        applied.reply.ok()?;
        events.extend(applied.events);
    }
    past.reboot |= events.iter().any(|event| matches!(event, Event::HostRebooted { .. }));
    past.total_loss |= state.hosts().all(|host| host.fence().is_some());
    Some(events)
}

impl Inner {
    fn number(&mut self, state: State, entries: u8, past: Past) -> LogNumber {
        let key = (state.digest(), entries, past);
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        let facts = Facts::of(&state);
        let number = LogNumber(u32::try_from(self.nodes.len()).expect("memory ends before the numbers do"));
        self.nodes.push(Arc::new(Node { state, facts, entries, past }));
        self.numbers.insert(key, number);
        number
    }

    fn change_number(&mut self, change: Change) -> ChangeNumber {
        let known = self.changes.iter().position(|known| *known == change);
        let place = known.unwrap_or_else(|| {
            self.changes.push(change);
            self.changes.len() - 1
        });
        ChangeNumber(u16::try_from(place).expect("a small world needs few distinct changes"))
    }

    fn commands(&self, controllers: u8, entry: Entry, now: u8) -> Vec<Command> {
        let voters = (0..controllers).map(ControllerNumber);
        let vote = |host: HostNumber, controller: ControllerNumber, verdict: Verdict| {
            let votes = vec![Vote { host: host.id(), verdict, evidence: Evidence::default() }];
            let change = Change::Votes { controller: controller.id(), votes };
            command(Actor::Controller(controller.id()), now, change)
        };
        let by = |controller: ControllerNumber, change| vec![command(Actor::Controller(controller.id()), now, change)];
        let first = ControllerNumber(0);
        match entry {
            Entry::Condemned(host) => voters.map(|voter| vote(host, voter, Verdict::Unreachable)).collect(),
            Entry::Heard(host, boot) => {
                let verdict = Verdict::Alive { boot: boot.id(host) };
                voters.map(|voter| vote(host, voter, verdict)).collect()
            }
            Entry::Reported(host, boot, runs) => {
                let change = Change::AgentReport { host: host.id(), report: report(host, boot, runs) };
                vec![command(Actor::Agent(host.id()), now, change)]
            }
            Entry::Decided(leader, change) => by(leader, self.changes[usize::from(change.0)].clone()),
            Entry::Granted { token, executor, level } => {
                by(executor, Change::PermitGrant { token, executor: executor.id(), level, life: STEP })
            }
            Entry::Result { token, permit, off } => {
                let outcome = match off {
                    true => Outcome::Observed(OffSeen { reads: 2, sessions: 2, ordered: true }),
                    false => Outcome::Unknown(quorumfence_machine::Doubt::Timeout),
                };
                by(first, Change::FenceResult { token, permit, outcomes: vec![outcome] })
            }
            Entry::Answered(Answer { token, runs }) => {
                let outcome = match runs {
                    true => Outcome::Observed(InstanceState::Running),
                    false => Outcome::Refused(Refusal::Hypervisor),
                };
                by(first, Change::RecoveryResult { instance: INSTANCE, token, outcome })
            }
        }
    }
}

/// Returns when a late order under a permit has arrived or is lost: that is assumed of the world, and of nothing else.
pub(super) fn is_gone_at(ends: ClusterTime, now: u8) -> bool {
    clock(now) >= ends.after(STEP)
}
