//! The fencing protocol as a model that is checked exhaustively within bounds: decide, permit, off, proof, plan, start,
//! admit, with stale leaders, late orders, hosts that return and boots that end.
//!
//! ```text
//!              ┌──────────── Log: State::apply, work, decide ───────────┐
//!              │ one sequence; each state kept once, named by a number  │
//!              └──▲──────────────▲──────────────▲───────────────▲───────┘
//!        votes, reports      decisions     permits, results   answers
//!              │                 │              │               │
//!            hosts ◀── Start ── controllers that believe to lead ── Off ──▶ BMCs
//! ```
//!
//! What decides is the product's own: `State::apply`, `State::work`, `decide` and `Agent::handle`. What is described here
//! is what acts: who believes to lead and how much of the log he knows, orders that arrive late or never, power, boots.
//!
//! Assumed of the world, and of nothing else: an off order arrives within the late delivery after the end of its permit,
//! or never; what an executor checks right before it sends is true when it sends; a BMC that says Off twice is right.
//!
//! Wider than the product, so that what holds here holds there: every pause is zero, a leader may decide on any older
//! state that it knew, proposals of deposed leaders are committed as long as they believe to lead, orders are sent any
//! number of times. Left out: Raft, storage, votes of less than all controllers, settings, brakes, maintenance, people's
//! word, live migration, stray copies, more than one level, instance and task a controller.
//!
//! That an agent asks the log before it starts anything is a second barrier: since refusals outlive their agent, nothing
//! breaks within these bounds without it, so it is no [`Guard`] here.

mod action;
mod agents;
mod beginning;
mod bootstrap;
mod facts;
mod guard;
mod lifted;
mod log;
mod numbers;
mod promise;
mod step;
mod story;
mod world;

use std::collections::BTreeMap;
use std::fmt;

use stateright::{Checker, HasDiscoveries, Model, Path, Property};

pub use self::action::{Action, Seen};
use self::agents::Agents;
use self::facts::Facts;
pub use self::guard::{Guard, UnknownGuard};
use self::log::{Entry, Log, LogNumber};
pub use self::promise::*;
pub use self::story::Story;
use self::world::{Controller, Host};
pub use self::world::{ControllerNumber, HostNumber, World};

/// How far the model goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Controllers, all of them voters.
    pub controllers: u8,
    /// Hosts. The instance begins on the first.
    pub hosts: u8,
    /// Entries after the founding. The votes of all controllers on one host count as one.
    pub log: u8,
    /// Elections, restarts, hosts cut off or without power, lost orders, refused starts, together.
    pub faults: u8,
    /// How often a permit's life passes.
    pub steps: u8,
    /// Boots of a host, the first included.
    pub boots: u8,
    /// Whether agents may restart within a boot, each time a fault.
    pub agents_restart: bool,
    /// Where it begins.
    pub beginning: Beginning,
}

/// Where the model begins. What came before counts for none of the bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// All hosts are up.
    AllUp,
    /// The first host lost its power and is proven off; the instance waits.
    FirstFenced,
    /// The second host was fenced, came back and is up. The first executor of that fence, deposed meanwhile and not
    /// aware of it, has read Off and not reported it.
    LateResult,
}

/// The protocol within bounds, whole or without one guard.
#[derive(Debug)]
pub struct Protocol {
    bounds: Bounds,
    without: Option<Guard>,
    log: Log,
    agents: Agents,
    first: World,
    entries_max: u8,
}

/// How a check ended. It always ends by itself: there is no limit on time or states.
#[derive(Debug)]
pub struct Checked {
    /// Distinct states.
    pub unique: usize,
    /// States, each as often as it was reached.
    pub total: usize,
    /// The longest of the shortest ways to a state.
    pub depth: usize,
    /// What is broken, and the shortest way there.
    pub broken: BTreeMap<&'static str, Story>,
    /// What was reached, and the shortest way there.
    pub reached: BTreeMap<&'static str, Story>,
}

/// When a check ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When every state within the bounds was seen.
    Exhausted,
    /// At the first thing that is broken.
    Broken,
}

/// Checks the protocol.
pub fn check(bounds: Bounds, without: Option<Guard>, until: Until) -> Checked {
    let checker = Protocol::new(bounds, without).checker().threads(1);
    let checker = match until {
        Until::Exhausted => checker.finish_when(HasDiscoveries::AllOf(std::iter::once("nothing").collect())),
        Until::Broken => checker.finish_when(HasDiscoveries::AnyFailures),
    };
    let checker = checker.spawn_bfs().join();
    let mut checked = Checked {
        unique: checker.unique_state_count(),
        total: checker.state_count(),
        depth: checker.max_depth(),
        broken: BTreeMap::new(),
        reached: BTreeMap::new(),
    };
    for (name, path) in checker.discoveries() {
        let story = Story::of(checker.model(), name, path);
        if GOALS.contains(&name) { &mut checked.reached } else { &mut checked.broken }.insert(name, story);
    }
    checked
}

type Way = Path<World, Action>;

impl Protocol {
    /// Creates the protocol.
    pub fn new(bounds: Bounds, without: Option<Guard>) -> Self {
        let log = Log::new(bootstrap::found(&bounds), bounds.controllers, without);
        let agents = Agents::default();
        let first = beginning::all_up(&bounds, &agents);
        let mut protocol = Self { bounds, without, log, agents, first: first.clone(), entries_max: u8::MAX };
        protocol.first = beginning::play(&protocol, first);
        protocol.entries_max = protocol.log.node(protocol.first.log).entries + bounds.log;
        protocol
    }

    fn lacks(&self, guard: Guard) -> bool {
        self.without == Some(guard)
    }

    /// Returns the agent of a host after its restart.
    pub(super) fn restarted(&self, host: HostNumber, row: &Host) -> agents::AgentNumber {
        if self.lacks(Guard::RefusalOutlivesAgent) {
            self.agents.fresh(host, row.boot)
        } else {
            self.agents.successor(row.agent, row.boot)
        }
    }

    fn commit(&self, world: &World, entry: Entry) -> Option<LogNumber> {
        let has_room = self.log.node(world.log).entries < self.entries_max;
        has_room.then(|| self.log.commit(world.log, entry, world.now)).flatten()
    }

    fn hosts<'a>(&self, world: &'a World) -> impl Iterator<Item = (HostNumber, &'a Host)> {
        (0..self.bounds.hosts).map(HostNumber).zip(&world.hosts)
    }

    fn controllers<'a>(&self, world: &'a World) -> impl Iterator<Item = (ControllerNumber, &'a Controller)> {
        (0..self.bounds.controllers).map(ControllerNumber).zip(&world.controllers)
    }

    /// Returns the hosts that a leader hears in the boot that it knows, a bit each.
    fn heard(&self, world: &World, facts: &Facts) -> u8 {
        let is_heard = |host: HostNumber, row: &Host| {
            row.on && !row.isolated && facts.host(host).reported.is_some_and(|(boot, _)| boot == row.boot)
        };
        self.hosts(world).filter(|(host, row)| is_heard(*host, row)).map(|(host, _)| 1 << host.0).sum()
    }
}

impl Checked {
    /// Returns the shortest way to something broken.
    pub fn shortest(&self) -> Option<(&'static str, &Story)> {
        self.broken.iter().map(|(name, story)| (*name, story)).min_by_key(|(_, story)| story.steps)
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![self.first.clone()]
    }

    fn actions(&self, world: &World, out: &mut Vec<Action>) {
        // What follows from a breach would only hide it.
        if world.breach.is_none() {
            action::all(self, world, out);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        step::step(self, world, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises()
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { controllers, hosts, log, faults, steps, boots, agents_restart, beginning } = self;
        write!(f, "{controllers} controllers, {hosts} hosts, {log} entries, {faults} faults, {steps} steps of time, ")?;
        write!(f, "{boots} boots a host")?;
        f.write_str(if *agents_restart { ", agents restart" } else { "" })?;
        match beginning {
            Beginning::AllUp => Ok(()),
            Beginning::FirstFenced => f.write_str(", host1 off and fenced"),
            Beginning::LateResult => f.write_str(", host2 fenced and back, with a result on its way"),
        }
    }
}
