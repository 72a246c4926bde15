//! One run from its opening to its verdict: warm up, chaos, heal, converge.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use quorumfence_machine::{HostId, Millis};
use tokio::time::{sleep, timeout};

use super::clients::Clients;
use super::rounds::Source;
use super::{Opening, Processes, supports};
use crate::fault::{Deed, Fault, HostBlow};
use crate::journal::Journal;
use crate::observation::Seen;
use crate::script::{Action, Script};
use crate::story::Scene;
use crate::swarm::{Kind, Plan, Profile};
use crate::world::sim::{Ended, Run};

/// Between two looks of the nemesis.
const TICK: Duration = Duration::from_millis(100);

/// Before the faults begin.
pub(super) const WARM_UP: Duration = Duration::from_secs(2);

/// After the faults everything must be well within this long: several times the nominal bound, because processes share
/// two cores with whatever else runs there.
const CONVERGENCE: Millis = Millis(240_000);

/// How long the end of a run is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Everything must be well within this long.
    pub(super) whole: Millis,
    /// Where nothing has happened for this long nothing will, well or not.
    pub(super) still: Millis,
}

/// The patience of a run: it must get well, and waits for that.
const PATIENCE: Patience = Patience { whole: CONVERGENCE, still: CONVERGENCE };

/// Then nothing may happen for this long.
const QUIET: Millis = Millis(12_000);

/// A host without power is switched on after this long once faults are over.
const POWER_ON_AFTER: Millis = Millis(5000);

/// Between two looks of the court at a run that goes on.
const LOOK_PAUSE: Millis = Millis(4000);

/// Between two tries of an operator to open what holds fences back.
const BRAKES_PAUSE: Millis = Millis(3000);

/// The words of killed controllers are in the kernel, and this long is plenty to read them.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Hosts that a run of processes has at most: two cores carry this many with their BMCs.
const HOSTS_MAX: u8 = 5;

/// What is to be run, and where.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The run.
    pub run: Run,
    /// An empty directory with a short name: sockets below it may have 107 bytes in all.
    pub place: PathBuf,
    /// The `quorumfence` program.
    pub program: PathBuf,
    /// A host whose BMC says off while it runs, so that the court can be seen to convict.
    pub lie: Option<HostId>,
}

/// How a run of processes ended.
#[derive(Debug)]
pub struct Played {
    /// As of any world.
    pub ended: Ended,
    /// What the nemesis wanted and this world cannot do, by kind.
    pub left_out: BTreeMap<String, u64>,
    /// How often a node really stood still at a stall point.
    pub stalls: BTreeMap<String, u64>,
}

/// Returns the plan of a seed for this world: without the kinds and the shapes that it cannot do.
pub fn plan(seed: u64, chaos: Millis) -> Plan {
    let mut plan = Plan::of(seed);
    plan.chaos = chaos;
    plan.shape.profile = Profile::Fast;
    plan.shape.hosts = plan.shape.hosts.min(HOSTS_MAX);
    plan
}

/// Runs to the end and judges what was seen. Must be called as [`Processes::open`] must.
///
/// # Errors
///
/// The world could not be made or driven, or it lost sight of something: then nothing is judged.
pub async fn play(wanted: &Wanted) -> anyhow::Result<Played> {
    let Wanted { run, place, program, lie } = wanted;
    if let Some(script) = &run.script {
        let unable = script.actions.iter().find_map(|action| Some((action, supports(&action.fault).err()?)));
        unable.map_or(Ok(()), |(action, why)| Err(anyhow::anyhow!("'{action}' cannot be done to processes: {why}")))?;
    }
    let scene = Scene::of(run.seed, &run.shape);
    let (patience, lie, bends_clocks) = (run.shape.profile, lie.clone(), needs_bent_clocks(run));
    let mut processes = Processes::open(Opening { place, program, scene: &scene, patience, lie, bends_clocks }).await?;
    processes.pass(WARM_UP).await?;
    let clients = processes.open_for_clients()?;
    let (script, left_out) = processes.chaos(run).await?;
    clients.send_home();
    processes.usual = Some(scene.settings.clone());
    processes.converge(&clients, PATIENCE).await?;
    let is_suspected = processes.suspicion.is_confirmed;
    let ended = processes.close(script).await?;
    let stalls = stalls_hit(place).context("what the processes said")?;
    ensure!(
        ended.broken.is_some() || !is_suspected,
        "the run was ended for a breach that the whole history does not show"
    );
    Ok(Played { ended, left_out, stalls })
}

/// Counts in the words of all processes how often one stood still at a point.
fn stalls_hit(place: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut hit = BTreeMap::new();
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "log") {
            continue;
        }
        let said = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        for line in said.lines().filter(|line| line.contains("the laboratory holds this node at a stall point")) {
            let point = line.split_whitespace().find_map(|word| word.strip_prefix("point="));
            *hit.entry(point.unwrap_or("unknown").to_string()).or_default() += 1;
        }
    }
    Ok(hit)
}

fn needs_bent_clocks(run: &Run) -> bool {
    let jumps = |script: &Script| script.actions.iter().any(|action| matches!(action.fault, Fault::WallClock(..)));
    let is_planned = || plan(run.seed, run.chaos).kinds.contains(&Kind::Clocks);
    run.shape.drift.iter().any(|drift| *drift != 0) || run.script.as_ref().map_or_else(is_planned, jumps)
}

/// Whether a promise seems to be broken. What is on its way here may still explain it.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// When the record was looked at last, and whether it showed a breach.
    last: (Millis, bool),
    /// Two looks in a row showed one: the run may end.
    is_confirmed: bool,
}

impl Processes {
    /// Lets time pass, in which processes follow what happens to their machines.
    pub(super) async fn pass(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = super::clock() + time;
        while super::clock() < until {
            self.tick().await?;
        }
        Ok(())
    }

    /// Lets a tick pass, or less when something happens to the hardware.
    pub(super) async fn tick(&mut self) -> anyhow::Result<()> {
        // The laboratory lives as long as this world, so only time can end the wait without news.
        drop(timeout(TICK, self.news.changed()).await);
        self.tend()
    }

    async fn chaos(&mut self, run: &Run) -> anyhow::Result<(Script, BTreeMap<String, u64>)> {
        let mut source = Source::of(run, Plan { shape: run.shape.clone(), ..plan(run.seed, run.chaos) });
        let (mut script, mut left_out) = (Script::default(), BTreeMap::new());
        let began = self.record.now();
        loop {
            let now = self.record.now() - began;
            let due = source.due(now, &self.sight());
            for fault in due {
                if supports(&fault).is_err() {
                    *left_out.entry(fault.kind()).or_default() += 1;
                    continue;
                }
                self.inflict(&fault)?;
                script.actions.push(Action { at: now, fault });
            }
            if now >= run.chaos || self.is_convicted()? {
                return Ok((script, left_out));
            }
            self.tick().await?;
        }
    }

    /// Heals everything, does what operators do, and waits until all is well and quiet, or patience ends.
    pub(super) async fn converge(&mut self, clients: &Clients, patience: Patience) -> anyhow::Result<()> {
        self.inflict(&Fault::Heal)?;
        self.record.see(Seen::Healed);
        let healed = self.record.now();
        let mut dark: BTreeMap<_, Millis> = BTreeMap::new();
        let mut brakes = healed;
        while self.record.now() - healed < patience.whole && !self.is_convicted()? {
            let now = self.record.now();
            let off: Vec<_> = self.sight().off.into_iter().collect();
            dark.retain(|host, _| off.contains(host));
            for host in off {
                if now - *dark.entry(host.clone()).or_insert(now) > POWER_ON_AFTER {
                    self.inflict(&Fault::Host(host, HostBlow::PowerOn))?;
                }
            }
            self.start_all()?;
            if now >= brakes && self.operator.is_idle() {
                brakes = now + BRAKES_PAUSE;
                self.open_brakes().await?;
            }
            let is_well = clients.are_gone() && self.operator.is_idle() && self.is_well();
            let enough = if is_well { QUIET } else { patience.still };
            if self.record.quiet_for(&self.laboratory).min(now - healed) >= enough {
                return Ok(());
            }
            self.tick().await?;
        }
        Ok(())
    }

    /// Looks from time to time whether a promise is broken, so that nobody waits for the end of a run that is lost.
    pub(super) fn is_convicted(&mut self) -> anyhow::Result<bool> {
        let (now, (at, was_broken)) = (self.record.now(), self.suspicion.last);
        if now - at > LOOK_PAUSE && !self.suspicion.is_confirmed {
            let is_broken = self.record.judge(&self.laboratory)?.broken.is_some();
            self.suspicion = Suspicion { last: (now, is_broken), is_confirmed: is_broken && was_broken };
        }
        Ok(self.suspicion.is_confirmed)
    }

    /// Operators see what holds fences back, and open it; and turn the settings back that they had turned.
    async fn open_brakes(&mut self) -> anyhow::Result<()> {
        let Some((may_fence, maintained, settings)) = self.brakes().await else { return Ok(()) };
        for host in maintained {
            self.inflict(&Fault::Operator(Deed::EndMaintenance(host)))?;
        }
        if let Some(usual) = self.usual.clone().filter(|usual| *usual != settings) {
            self.set_settings(usual)?;
        }
        if !may_fence {
            self.inflict(&Fault::Operator(Deed::Arm))?;
        }
        Ok(())
    }

    /// Whether every controller agrees that every host is up and every instance runs, and the hardware says so too.
    fn is_well(&self) -> bool {
        let said = self.statuses.fresh();
        let hosts: Vec<_> = self.stations.keys().collect();
        let all = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
        let same = |pick: fn(&quorumfence_proto::pb::StatusReply) -> u64| {
            let picked: std::collections::BTreeSet<u64> = said.values().map(pick).collect();
            picked.len() == 1
        };
        self.members_are_settled()
            && said.len() == self.seats.len()
            && same(|status| status.applied)
            && same(|status| status.leader.as_ref().map_or(0, |leader| leader.id))
            && self.leader().is_some()
            && said.values().all(|status| status.parked == 0 && status.hosts.unwrap_or_default().up == all)
            && self.record.is_settled(&self.laboratory, &hosts)
    }

    /// Ends the run: nothing that happens from here on is part of it.
    pub(super) async fn close(mut self, script: Script) -> anyhow::Result<Ended> {
        self.record.see(Seen::Closed);
        let simulated = self.record.now();
        for id in self.seats.keys().copied().collect::<Vec<_>>() {
            self.kill(id);
        }
        let heard = timeout(LAST_WORDS, async {
            while !self.ears.heard_all() {
                sleep(Duration::from_millis(10)).await;
            }
        });
        heard.await.context("the witnesses of dead controllers were not heard to their end")?;
        let judged = self.record.judge(&self.laboratory)?;
        self.stop_agents();
        Ok(Ended {
            script,
            history: judged.history,
            broken: judged.broken,
            judged: judged.judged,
            stood: BTreeMap::new(),
            simulated,
            journal: Journal::default(),
        })
    }
}
