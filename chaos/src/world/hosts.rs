//! World 3: controllers as processes, hosts as namespaces with libvirtd, QEMU and `ipmi_sim`, all of it real.
//!
//! ```text
//!   nemesis or script ─▶ inflict ─▶ heal ─▶ converge ─▶ the guests' logs ──▶ S1, from data alone
//!                                                  └──▶ account ──▶ court    power, QEMU, committed events
//! ```
//!
//! Every guest writes its own name to a log on storage that all hosts share, with QEMU's lock on the image off: the
//! product is judged without a second barrier behind it. What takes too long is not judged but told: this machine's speed
//! is no promise.

mod account;
mod converge;
mod facts;
mod inflict;
mod lacks;
mod ledger;
pub mod log;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use quorumfence_machine::{ControllerId, HostId, InstanceId, Millis, Power, Segment, Settings, WallMillis};
use quorumfence_node::cli::Failure;
use quorumfence_node::config;
use quorumfence_node::demo::cluster::{Cluster, Wanted, missing};
use quorumfence_raft::{Clock, SystemClock};

use self::account::List;
use self::facts::{Fact, Facts};
use self::inflict::Waking;
pub use self::lacks::{KINDS_LEFT_OUT, lacks};
use self::ledger::Ledger;
use crate::chance::Chance;
use crate::fault::Fault;
use crate::nemesis::{Nemesis, Sight};
use crate::observation::{Observation, Seen};
use crate::script::{Action, Script};
use crate::swarm::{Plan, Profile};
use crate::verdict::{Broken, Court};

/// Promises that are not judged here: which token a start had, and what an entry said, this world knows from the product.
const TOLD_BY_THE_PRODUCT: [&str; 3] = ["S3", "S8", "S9"];

/// Guests, the number of the host that runs each at first, and their priorities.
pub const GUESTS: [(&str, u8, u16); 4] = [("app1", 1, 500), ("db2", 2, 900), ("web2", 2, 500), ("app3", 3, 500)];

/// Between two looks at the rig.
const TICK: Duration = Duration::from_millis(200);

/// Between two questions to the controllers: a frozen one lets each wait for a second.
const GLANCE: Millis = Millis(1000);

/// The shortest chaos that the nemesis has room in.
pub const CHAOS_MIN: Millis = Millis(40_000);

/// Room in a guest's log for each second of a run: twice what a guest writes.
const RECORDS_PER_SECOND: u64 = 10;

/// QEMU takes only disks of whole pages.
const RECORDS_PER_PAGE: u64 = 8;

/// What is run.
#[derive(Debug, Clone)]
pub struct Run {
    /// Decides what chance decides; the machine decides the rest.
    pub seed: u64,
    /// How long faults go on.
    pub chaos: Millis,
    /// The faults; the nemesis chooses them when there is no script.
    pub script: Option<Script>,
    /// The `quorumfence` program; the one beside this program when nothing is said.
    pub program: Option<PathBuf>,
}

/// The runs of each guest by its name, with how many records each wrote.
pub type Logs = BTreeMap<String, Vec<(String, usize)>>;

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// The faults that happened.
    pub script: Script,
    /// Faults that the nemesis chose and this world cannot do, by kind.
    pub left_out: BTreeMap<String, u64>,
    /// Everything that was seen.
    pub history: Vec<Observation>,
    /// The promise that broke.
    pub broken: Option<Broken>,
    /// How often each promise was put to the test.
    pub judged: BTreeMap<&'static str, u64>,
    /// The runs of each guest in the order of its log, with how many records each wrote.
    pub logs: Logs,
    /// Why liveness could not be judged: something took longer than this world waits.
    pub doubt: Option<String>,
    /// Where the files of the run are, when there is something to look for in them.
    pub kept: Option<PathBuf>,
    /// How long it took.
    pub took: Millis,
}

impl Run {
    /// Returns what the seed makes of a run here.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut plan = Plan::of(self.seed);
        plan.shape.controllers = 3;
        plan.shape.hosts = 3;
        plan.shape.instances_per_host = 1;
        plan.kinds.retain(|kind| !KINDS_LEFT_OUT.contains(kind));
        plan.pause = Chance::new(self.seed, "hosts").time(Millis(6000), Millis(14_000));
        plan.chaos = self.chaos.max(CHAOS_MIN);
        plan
    }
}

/// Runs to the end. It blocks for minutes, and its processes live no longer than the thread that it is called on.
///
/// # Errors
///
/// The script has a fault that this world cannot do, the machine lacks something, or the rig could not be built.
pub fn play(what: &Run) -> anyhow::Result<Ended> {
    for action in what.script.iter().flat_map(|script| &script.actions) {
        if let Some(why) = lacks(&action.fault) {
            return Err(anyhow!("the world of hosts cannot do '{}': {why}", action.fault));
        }
    }
    let missing = missing();
    ensure!(missing.is_empty(), "the world of hosts cannot run here: {}", missing.join("; "));
    let mut world = World::open(what)?;
    let (script, left_out) = world.chaos(what)?;
    let (closed, doubt) = match world.converge() {
        Ok(closed) => (closed, None),
        Err(doubt) => (wall(), Some(doubt)),
    };
    let verdict = world.judge(what, closed, doubt.is_none())?;
    let is_kept = verdict.broken.is_some() || doubt.is_some();
    let kept = is_kept.then(|| world.cluster.keep().to_path_buf());
    Ok(Ended { script, left_out, doubt, kept, took: Millis(wall().0 - world.opened.0), ..verdict })
}

/// Returns the product's program beside this one, also from the directory of a test.
///
/// # Errors
///
/// It is not there.
pub fn program() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("this program cannot find itself")?;
    let beside = this.ancestors().skip(1).take(2).map(|directory| directory.join("quorumfence"));
    beside
        .into_iter()
        .find(|file| file.is_file())
        .with_context(|| format!("no program quorumfence is beside {}: build quorumfence-node", this.display()))
}

/// The rig and what is known of it.
#[derive(Debug)]
struct World {
    cluster: Cluster,
    opened: WallMillis,
    /// When the product took over: no guest is started by hand after that.
    ready: WallMillis,
    facts: Facts,
    /// What the world itself did, with when.
    told: Vec<Fact>,
    ledger: Ledger,
    leader: Option<ControllerId>,
    glanced: WallMillis,
    frozen: BTreeSet<ControllerId>,
    wakings: Vec<Waking>,
}

impl World {
    fn open(what: &Run) -> anyhow::Result<Self> {
        let program = what.program.clone().map_or_else(program, Ok)?;
        let opened = wall();
        let (profile, _) = profile(&what.plan());
        let seconds = what.chaos.0 / 1000 + converge::PATIENCE.0 / 1000 + 300;
        let records = (seconds * RECORDS_PER_SECOND).next_multiple_of(RECORDS_PER_PAGE);
        let records = u32::try_from(records).context("the run is too long")?;
        let wanted = Wanted { program: &program, profile, guests: &GUESTS, records };
        let cluster = Cluster::open(&wanted).map_err(told)?;
        let mut facts = Facts::default();
        let ready = wall();
        facts.look(&cluster, ready);
        Ok(Self {
            cluster,
            opened,
            ready,
            facts,
            told: Vec::new(),
            ledger: Ledger::default(),
            leader: None,
            glanced: WallMillis(0),
            frozen: BTreeSet::new(),
            wakings: Vec::new(),
        })
    }

    /// Lets faults happen for as long as the run says, and returns them, and those that this world cannot do.
    fn chaos(&mut self, what: &Run) -> anyhow::Result<(Script, BTreeMap<String, u64>)> {
        let mut nemesis = Nemesis::new(what.seed, what.plan());
        let mut scripted = what.script.clone().map(|script| script.actions.into_iter().peekable());
        let (mut script, mut left_out) = (Script::default(), BTreeMap::new());
        let began = wall();
        loop {
            let now = Millis(wall().0 - began.0);
            self.look()?;
            let due: Vec<Fault> = match &mut scripted {
                Some(actions) => std::iter::from_fn(|| actions.next_if(|action| action.at <= now))
                    .map(|action| action.fault)
                    .collect(),
                None => nemesis.due(now, &self.sight()?),
            };
            for fault in due {
                if lacks(&fault).is_some() {
                    *left_out.entry(fault.kind()).or_default() += 1;
                    continue;
                }
                self.inflict(&fault);
                script.actions.push(Action { at: now, fault });
            }
            if now >= what.chaos {
                return Ok((script, left_out));
            }
            pause(TICK);
        }
    }

    /// Looks at the rig, and from time to time at the controllers; ends what has lasted long enough.
    fn look(&mut self) -> anyhow::Result<()> {
        let now = wall();
        self.facts.look(&self.cluster, now);
        self.wake(now);
        for id in self.cluster.bury() {
            self.tell(Seen::Fault { what: format!("{id} ended by itself") });
        }
        if now.0 - self.glanced.0 >= GLANCE.0 {
            self.leader = self.cluster.leader();
            let asked = self.leader.filter(|id| !self.frozen.contains(id));
            // One that does not answer is asked again at the next look.
            if let Some(Ok(events)) = asked.map(|id| self.cluster.events(id, self.ledger.last + 1)) {
                self.ledger.take(&events);
            }
            self.glanced = wall();
        }
        Ok(())
    }

    fn sight(&self) -> anyhow::Result<Sight> {
        let hosts: Vec<HostId> = self.cluster.rig().hosts().iter().map(|host| host.id().clone()).collect();
        Ok(Sight {
            leader: self.leader,
            controllers: self.cluster.controllers(),
            running: self.cluster.running(),
            off: self.dark()?,
            fenced: hosts.iter().filter(|host| !self.ledger.stands(host)).cloned().collect(),
            // Nobody outside sees a permit; a fence that runs is close enough.
            permitted: Vec::new(),
            targets: self.ledger.open.values().flatten().cloned().collect(),
            hosts,
            // Nobody moves instances here.
            up: Vec::new(),
            homes: Vec::new(),
        })
    }

    /// Returns the hosts without power.
    fn dark(&self) -> anyhow::Result<BTreeSet<HostId>> {
        let mut dark = BTreeSet::new();
        for host in self.cluster.rig().hosts() {
            if host.power()? == Power::Off {
                dark.insert(host.id().clone());
            }
        }
        Ok(dark)
    }

    fn tell(&mut self, seen: Seen) {
        self.told.push(Fact { at: wall(), seen });
    }

    /// Judges S1 from what the guests wrote, and everything else that was seen until `closed` by the court.
    fn judge(&mut self, what: &Run, closed: WallMillis, is_healed: bool) -> anyhow::Result<Ended> {
        let (logs, two_writers) = self.read_logs()?;
        self.facts.look(&self.cluster, wall());
        let mut lists = Vec::new();
        for controller in self.cluster.running() {
            if let Ok(events) = self.cluster.events(controller, 0) {
                lists.push(List { controller, events });
            }
        }
        ensure!(!lists.is_empty(), "no controller lists what it committed, so nothing can be judged by it");
        let mut facts = self.facts.all(&self.cluster)?;
        facts.extend(self.told.iter().filter(|fact| is_healed || fact.seen != Seen::Healed).cloned());
        let (_, settings) = profile(&what.plan());
        let run = format!("seed {}", what.seed);
        let opened = Seen::Opened { run, settings, segment: segment(&what.plan()) };
        let mut history = vec![Observation { at: Millis::ZERO, seen: opened }];
        let end = Millis(closed.0 - self.opened.0);
        let seen = account::history(facts, &lists, self.opened, self.ready);
        history.extend(seen.into_iter().filter(|observation| observation.at <= end));
        history.push(Observation { at: end, seen: Seen::Closed });
        let mut court = Court::on_a_real_machine();
        for observation in &history {
            court.see(observation);
        }
        let mut judged = court.judged();
        judged.retain(|promise, _| !TOLD_BY_THE_PRODUCT.contains(promise));
        *judged.entry("S1").or_default() += u64::try_from(logs.len()).unwrap_or(u64::MAX);
        Ok(Ended {
            broken: two_writers.or_else(|| court.broken().cloned()).or(self.panic(end)?),
            judged,
            logs,
            history,
            script: Script::default(),
            left_out: BTreeMap::new(),
            doubt: None,
            kept: None,
            took: Millis::ZERO,
        })
    }

    /// Returns the runs in each guest's log, and the first breach.
    fn read_logs(&self) -> anyhow::Result<(Logs, Option<Broken>)> {
        let mut broken = None;
        let mut logs = Logs::new();
        for guest in self.cluster.guests() {
            let path = self.cluster.log(guest.instance).context("every guest has a log here")?;
            let records = records(&path, guest.instance)?;
            logs.insert(guest.name.clone(), log::runs(&records));
            if let Some(breach) = log::two_writers(&records) {
                let why = format!(
                    "the log of {} shows two runs at once: {breach}{}",
                    guest.name,
                    self.where_ran(guest.instance)
                );
                broken.get_or_insert(Broken { promise: "S1", at: Millis(wall().0 - self.opened.0), why });
            }
        }
        Ok((logs, broken))
    }

    /// Returns the first panic that a controller or an agent wrote down.
    fn panic(&self, at: Millis) -> anyhow::Result<Option<Broken>> {
        let controllers = self.cluster.controllers().into_iter().map(|id| self.cluster.controller_log(id));
        let agents = self.cluster.rig().hosts().iter().map(|host| host.command_log());
        for path in controllers.chain(agents) {
            let bytes = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            let text = String::from_utf8_lossy(&bytes);
            if let Some(line) = text.lines().find(|line| line.contains("panicked at")) {
                let why = format!("{}: {line}", path.display());
                return Ok(Some(Broken { promise: "panic", at, why }));
            }
        }
        Ok(None)
    }

    /// Returns which run was where, for people; the consoles tell it.
    fn where_ran(&self, instance: InstanceId) -> String {
        let runs = self.cluster.rig().guests().runs(instance);
        runs.iter().map(|run| format!("; {} was on {}", run.run, run.host)).collect()
    }
}

/// Reads the log of a guest.
///
/// # Errors
///
/// It cannot be read, or it is no evidence.
pub fn records(path: &Path, instance: InstanceId) -> anyhow::Result<Vec<log::Record>> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    log::read(&bytes, instance).with_context(|| format!("the log of {instance} proves nothing"))
}

fn profile(plan: &Plan) -> (config::Profile, Settings) {
    let profile = match plan.shape.profile {
        Profile::Fast => config::Profile::Fast,
        Profile::Default => config::Profile::Default,
    };
    (profile, profile.settings())
}

/// Returns the segment that the rig's hosts are in. Judges read only its brakes, which are the defaults.
fn segment(plan: &Plan) -> Segment {
    let (_, segment) = plan.shape.policy();
    segment
}

fn told(failure: Failure) -> anyhow::Error {
    anyhow!(failure.to_string().trim().to_string())
}

fn wall() -> WallMillis {
    SystemClock.wall()
}

/// Lets real time pass.
fn pause(time: Duration) {
    std::thread::sleep(time);
}
