//! One run from its opening to its verdict: warm up, chaos, heal, converge.

use std::collections::BTreeMap;
use std::time::Duration;

use quorumfence_machine::{CastVote, Change, ControllerId, Host, HostId, HostState, Millis, State, Verdict};
use quorumfence_raft::{Expect, Options, Point};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::runtime::Rate;
use super::workload::Clients;
use super::{Sim, run};
use crate::canary::Guilt;
use crate::fault::{Fault, HostBlow, Place};
use crate::journal::Journal;
use crate::nemesis::Nemesis;
use crate::observation::{Observation, Seen};
use crate::script::{Action, Script};
use crate::swarm::{LastBlow, Outage, Plan, Shape};
use crate::verdict::Broken;

/// Between two looks of the nemesis.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// After the faults everything must be well within this long, in simulated time.
const CONVERGENCE: Millis = Millis(300_000);

/// Then nothing may happen for this long.
const QUIET: Duration = Duration::from_secs(12);

/// A host without power is switched on after this long once faults are over.
const POWER_ON_AFTER: Millis = Millis(5000);

/// This long after everything is healed every controller has seen every host.
const SEEN_AFTER: Millis = Millis(20_000);

/// Nothing may be disturbed for this long before an outage, so that what is lost in it is lost for nothing else.
const CALM: Millis = Millis(22_000);

/// What an outage leads to has begun by then: a host may be condemned just as it comes back.
const AFTERMATH: Millis = Millis(5000);

/// How far apart agents start, at most: the time between two heartbeats of the slowest settings.
const APART: Millis = Millis(1000);

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Decides everything that chance decides.
    pub seed: u64,
    /// The cluster.
    pub shape: Shape,
    /// How long faults go on.
    pub chaos: Millis,
    /// The faults; the nemesis chooses them when there is no script.
    pub script: Option<Script>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The faults that happened.
    pub script: Script,
    /// Everything that was seen.
    pub history: Vec<Observation>,
    /// The promise that broke.
    pub broken: Option<Broken>,
    /// How often each promise was put to the test.
    pub judged: BTreeMap<&'static str, u64>,
    /// How often a task of the product stood at each stall point.
    pub stood: BTreeMap<Point, u64>,
    /// How long the run was, in simulated time.
    pub simulated: Millis,
    /// What the log said; nothing where the world is real.
    pub journal: Journal,
}

impl Run {
    /// Returns the run of a seed.
    pub fn of(seed: u64) -> Self {
        let plan = Plan::of(seed);
        Self { seed, shape: plan.shape, chaos: plan.chaos, script: None }
    }
}

/// Runs to the end, or to the first broken promise.
///
/// # Errors
///
/// The cluster could not even be founded.
pub fn play(what: &Run) -> anyhow::Result<Ended> {
    stage(what, None)
}

/// The same in a world that breaks its own rules: for canaries.
///
/// # Errors
///
/// The cluster could not even be founded.
pub fn play_guilty(what: &Run, guilt: Guilt) -> anyhow::Result<Ended> {
    stage(what, Some(guilt))
}

fn stage(what: &Run, guilt: Option<Guilt>) -> anyhow::Result<Ended> {
    let what = what.clone();
    run(what.seed, |mut sim| async move {
        sim.equip(&what.shape);
        let Shape { controllers, hosts, instances_per_host, .. } = what.shape;
        sim.found(controllers, hosts, instances_per_host, what.shape.policy()).await?;
        sleep(Duration::from_secs(2)).await;
        let clients = sim.open_for_clients();
        if let Some(guilt) = guilt {
            sim.be_guilty(guilt).await;
        }
        let script = sim.chaos(&what).await;
        clients.send_home();
        sim.usual = Some(what.shape.policy().0);
        if sim.record.broken().is_none() {
            sim.converge(&clients, what.shape.outage, what.shape.last()).await;
        }
        let simulated = sim.laboratory().now();
        let (history, judged) = sim.record.close();
        let (broken, journal) = (sim.record.broken(), sim.record.journal());
        Ok(Ended { script, history, broken, judged, stood: sim.stood(), simulated, journal })
    })
}

/// The host that loses its power for good, and who does not reach its BMC.
struct Dark {
    host: HostId,
    blind: Option<ControllerId>,
}

/// Where faults come from.
enum Source {
    Nemesis(Box<Nemesis>),
    Script(std::vec::IntoIter<Action>, Option<Action>),
}

impl Sim {
    fn equip(&mut self, shape: &Shape) {
        let log_kept = shape.snapshot_after / 4;
        self.options = Options { snapshot_after: shape.snapshot_after, log_kept, ..Options::default() };
        for (drift, id) in shape.drift.iter().zip(1..) {
            self.rates.insert(ControllerId(id), Rate::new(*drift));
        }
    }

    async fn chaos(&mut self, what: &Run) -> Script {
        let mut source = match &what.script {
            Some(script) => Source::Script(script.actions.clone().into_iter(), None),
            None => {
                let plan = Plan { shape: what.shape.clone(), chaos: what.chaos, ..Plan::of(what.seed) };
                Source::Nemesis(Box::new(Nemesis::new(what.seed, plan)))
            }
        };
        let mut script = Script::default();
        let began = self.laboratory().now();
        loop {
            let now = self.laboratory().now() - began;
            self.tend();
            let due = match &mut source {
                Source::Nemesis(nemesis) => nemesis.due(now, &self.sight()),
                Source::Script(actions, next) => due(actions, next, now),
            };
            for fault in due {
                self.inflict(&fault);
                script.actions.push(Action { at: now, fault });
            }
            if now >= what.chaos || self.record.broken().is_some() {
                return script;
            }
            sleep(TICK).await;
        }
    }

    /// Heals everything, does what operators do, and waits until all is well or patience ends. When there is an outage
    /// or one more blow to come, it comes then, and all is well again when a host that stays off is fenced and nothing of
    /// it waits.
    pub(super) async fn converge(&mut self, clients: &Clients, mut outage: Option<Outage>, last: LastBlow) {
        self.inflict(&Fault::Heal);
        self.record.see(Seen::Healed);
        let healed = self.laboratory().now();
        let mut dark: BTreeMap<_, Millis> = BTreeMap::new();
        let mut stays_off: Option<Dark> = None;
        while self.laboratory().now() - healed < CONVERGENCE && self.record.broken().is_none() {
            self.tend();
            self.note_leaders();
            let now = self.laboratory().now();
            let off: Vec<_> = self.sight().off.into_iter().collect();
            dark.retain(|host, _| off.contains(host));
            for host in off.into_iter().filter(|host| stays_off.as_ref().is_none_or(|dark| dark.host != *host)) {
                if now - *dark.entry(host.clone()).or_insert(now) > POWER_ON_AFTER {
                    self.inflict(&Fault::Host(host, HostBlow::PowerOn));
                }
            }
            // What ended itself is started again, as its service manager would.
            let mut whole = self.sight().controllers;
            whole.retain(|id| !self.is_broken(*id));
            for id in whole {
                self.start(id, Expect::Existing);
            }
            self.open_brakes().await;
            self.guide_agents();
            if clients.are_gone() && self.is_well(stays_off.as_ref()) {
                if let Some(outage) = outage.take() {
                    self.suffer(outage).await;
                    continue;
                }
                if last == LastBlow::None || stays_off.is_some() {
                    break;
                }
                stays_off = self.lose_one(now - healed, last);
            }
            sleep(TICK).await;
        }
        sleep(QUIET).await;
    }

    /// Hosts lose the network for a while, after a calm, and nobody should take long to hear them again. All agents called
    /// at the same moment when everything was healed; they start anew one by one, or all would fall silent at once.
    async fn suffer(&mut self, outage: Outage) {
        let hosts: Vec<HostId> = self.hosts.keys().cloned().collect();
        for host in &hosts {
            self.inflict(&Fault::Host(host.clone(), HostBlow::RestartAgent));
            sleep(self.chance.time(Millis::ZERO, APART).into()).await;
        }
        self.wait(CALM).await;
        let (silent, time) = match outage {
            Outage::OneHost(time) => (self.chance.pick(&hosts).cloned().into_iter().collect(), time),
            Outage::EveryHost(time) => (hosts, time),
        };
        for host in &silent {
            self.inflict(&Fault::Isolate(Place::Host(host.clone())));
        }
        self.wait(time).await;
        for host in silent {
            self.inflict(&Fault::Rejoin(Place::Host(host)));
        }
        self.wait(AFTERMATH).await;
    }

    async fn wait(&mut self, time: Millis) {
        let until = self.laboratory().now() + time;
        while self.laboratory().now() < until {
            self.tend();
            sleep(TICK).await;
        }
    }

    /// One host loses its power, once every controller has had the time to see it. A blind leader loses its line to the
    /// BMC at the same moment.
    fn lose_one(&mut self, since_healed: Millis, last: LastBlow) -> Option<Dark> {
        let hosts: Vec<HostId> = self.hosts.keys().cloned().collect();
        let host = self.chance.pick(&hosts).filter(|_| since_healed >= SEEN_AFTER)?.clone();
        // Another level, which a person enrolled meanwhile, would do without that line.
        let has_bmc_only = |state: &State| {
            let levels = state.host(&host).and_then(|row| row.enrolment.as_ref()).map(|enrolment| &enrolment.levels);
            levels.is_some_and(|levels| {
                levels.iter().flat_map(|level| &level.devices).all(|device| device.address.starts_with("bmc"))
            })
        };
        let leader = self.leader().filter(|leader| self.read(*leader, has_bmc_only).unwrap_or(false));
        let blind = leader.filter(|_| last == LastBlow::HostAndLeadersLine);
        if let Some(leader) = blind {
            self.inflict(&Fault::Cut { from: Place::Controller(leader), to: Place::Bmc(host.clone()) });
        }
        self.inflict(&Fault::Host(host.clone(), HostBlow::PowerCut));
        Some(Dark { host, blind })
    }

    /// Operators see what holds fences back, and open it; and turn the settings back that they had turned.
    async fn open_brakes(&self) {
        let Some(leader) = self.leader() else { return };
        let wanted = self.read(leader, |state| {
            let held = state.hosts().filter(|row| row.maintenance.is_some()).map(|row| row.id.clone());
            let may_fence = state.cluster().is_none_or(|cluster| cluster.armed && cluster.storm.is_none());
            let usual = self.usual.clone().filter(|usual| *usual != state.settings());
            (held.collect::<Vec<_>>(), may_fence, usual)
        });
        let Some((maintained, may_fence, usual)) = wanted else { return };
        if let Some(settings) = usual {
            drop(self.propose(Change::SettingsSet { settings }).await);
        }
        for host in maintained {
            let end = Change::HostMaintenance { host, reason: None };
            drop(self.propose(end).await);
        }
        if !may_fence {
            drop(self.propose(Change::Arm { reason: "healed".into() }).await);
        }
    }

    /// Whether every controller agrees that every host is up, but for one that stays off and is fenced, and that every
    /// instance runs; and the hardware says so too.
    fn is_well(&self, stays_off: Option<&Dark>) -> bool {
        let ids = self.ids();
        let last = ids.iter().filter_map(|id| Some(*self.ether.station(*id)?.replica.applied().borrow())).max();
        let stands = |host: &HostId| {
            if stays_off.is_some_and(|dark| dark.host == *host) {
                let is_fenced =
                    |state: &State| state.host(host).is_some_and(|row| matches!(row.state, HostState::Fenced { .. }));
                return ids.iter().all(|id| self.read(*id, is_fenced).unwrap_or(false));
            }
            let boot = self.laboratory().boot(host);
            boot.is_some()
                && ids.iter().all(|id| {
                    self.read(*id, |state| state.host(host).and_then(|row| row.up_boot()) == boot).unwrap_or(false)
                })
        };
        self.members_are_settled()
            && ids.len() == self.seats.len()
            && self.hosts.keys().all(stands)
            && self.leader().is_some()
            && ids.iter().all(|id| self.read(*id, |state| is_settled(state, stays_off)).unwrap_or(false))
            && ids.iter().all(|id| {
                self.ether.station(*id).is_some_and(|station| Some(*station.replica.applied().borrow()) == last)
            })
    }
}

/// What is parked is tried again, so it is not settled either; and nobody has still to say that a host lives, or that
/// the one which stays off was read off, by whoever can.
fn is_settled(state: &State, stays_off: Option<&Dark>) -> bool {
    let is_due = |host: &Host, (voter, vote): (&ControllerId, &CastVote)| {
        let dark = stays_off.filter(|dark| dark.host == host.id);
        match vote.verdict {
            Verdict::Alive { .. } => dark.is_none(),
            Verdict::PoweredOff => dark.is_some(),
            Verdict::Unreachable => dark.is_some_and(|dark| dark.blind == Some(*voter)),
            Verdict::CannotTell(_) => false,
        }
    };
    let agreed = state.cluster().is_some_and(|cluster| {
        state.hosts().all(|host| {
            let vote = |voter| host.votes.get_key_value(voter);
            cluster.voters.iter().all(|voter| vote(voter).is_some_and(|cast| is_due(host, cast)))
        })
    });
    agreed && state.instances().all(|instance| instance.recovery.is_none())
}

pub(in crate::world) fn due(
    actions: &mut std::vec::IntoIter<Action>,
    next: &mut Option<Action>,
    now: Millis,
) -> Vec<Fault> {
    let mut due = Vec::new();
    loop {
        match next.take().or_else(|| actions.next()) {
            Some(action) if action.at <= now => due.push(action.fault),
            later => {
                *next = later;
                return due;
            }
        }
    }
}
