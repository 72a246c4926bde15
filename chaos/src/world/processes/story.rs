//! Plays a story against real binaries: judged are the promises and the order of what is expected, not the times.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use quorumfence_machine::{HostId, Millis, Reason, Settings};
use quorumfence_node::wiring::testimony;
use quorumfence_proto::pb;
use quorumfence_proto::pb::explain_request::Subject;
use quorumfence_proto::pb::host_state::Kind;
use quorumfence_proto::status::{Detail, detail};
use tokio::time::timeout;
use tonic::Status;

use super::clients::Clients;
use super::inflict::{drives, supports};
use super::operator::ANSWER;
use super::play::{Patience, WARM_UP};
use super::{Opening, Processes};
use crate::fault::Fault;
use crate::journal::Journal;
use crate::story::{self, Ending, MEMORY_MIB, Story};
use crate::swarm::Profile;
use crate::world::sim::asides::Aside;
use crate::world::sim::story::Told;

/// After the healing, what a story leaves waiting for a person keeps the cluster from being well. It ends when nothing
/// has happened for so long, which is longer than any pause between two tries.
const STILL: Millis = Millis(45_000);

/// Everything must be well within this long after the healing: the nominal bounds of a story are those of the product's
/// own settings, and slower than a run's.
const CONVERGENCE: Millis = Millis(240_000);

/// The next line of a script waits so long for what it comes after. What has not happened by then will not.
const LATE: Millis = Millis(20_000);

/// A story and where it is played.
#[derive(Debug)]
pub struct Staging<'a> {
    /// The story.
    pub story: &'a Story,
    /// An empty directory with a short name.
    pub place: PathBuf,
    /// The `quorumfence` program.
    pub program: &'a Path,
}

/// Says why this world cannot play a story, where it cannot.
pub fn unable(story: &Story) -> Option<String> {
    let machine = story.scene.machines.iter().find_map(|machine| {
        let why = match &machine.levels {
            _ if machine.memory_mib != MEMORY_MIB => Err("an agent tells the memory of the machine that it runs on"),
            Some(levels) => drives(levels),
            None => Ok(()),
        };
        Some(format!("host{}: {}", machine.number, why.err()?))
    });
    machine.or_else(|| {
        let mut actions = story.script.actions.iter();
        actions.find_map(|action| Some(format!("'{action}': {}", supports(&action.fault).err()?)))
    })
}

/// Plays a story to its end or to the first broken promise. Must be called as [`Processes::open`] must.
///
/// # Errors
///
/// This world cannot play it, it could not be made or driven, or it lost sight of something: then nothing is judged.
pub async fn tell(staging: &Staging<'_>) -> anyhow::Result<Told> {
    let Staging { story, place, program } = staging;
    let unable = unable(story);
    ensure!(unable.is_none(), "{} cannot be played against processes: {}", story.name, unable.unwrap_or_default());
    let Story { scene, script, ending, .. } = story;
    let is_of_clocks = script.actions.iter().any(|action| matches!(action.fault, Fault::WallClock(..)));
    let bends_clocks = is_of_clocks || scene.drift.iter().any(|drift| *drift != 0);
    let patience = Profile::Default;
    let opening = Opening { place, program, scene, patience, lie: None, bends_clocks };
    let mut processes = Processes::open(opening).await?;
    processes.pass(WARM_UP).await?;
    let began = processes.record.now();
    let clients = if scene.clients { processes.open_for_clients()? } else { Clients::none() };
    processes.perform(story).await?;
    clients.send_home();
    match ending {
        Ending::Heal(_) => processes.converge(&clients, Patience { whole: CONVERGENCE, still: STILL }).await?,
        Ending::End(_) => {}
    }
    let (asides, ended) = (processes.asides.so_far(), processes.record.now());
    let closed = processes.close(script.clone()).await?;
    let (history, broken, judged) = (closed.history, closed.broken, closed.judged);
    Ok(Told { history, asides, began, ended, broken, judged, journal: Journal::default() })
}

impl Processes {
    /// Does what the script says. The clock of the script stands still while something is late that its next line comes
    /// after.
    async fn perform(&mut self, story: &Story) -> anyhow::Result<()> {
        let actions = &story.script.actions;
        let began = self.record.now();
        let (mut nth, mut behind, mut waited) = (0, Millis::ZERO, Millis::ZERO);
        loop {
            let now = self.record.now();
            let due = actions.get(nth).map_or(story.ending.at(), |action| action.at);
            if now - began - behind >= due {
                if waited >= LATE || self.is_ready(story, nth, began)? {
                    let Some(action) = actions.get(nth) else { return Ok(()) };
                    self.inflict(&action.fault)?;
                    (nth, waited) = (nth + 1, Millis::ZERO);
                    continue;
                }
                self.tick().await?;
                let lost = self.record.now() - now;
                (behind, waited) = (behind + lost, waited + lost);
            } else {
                self.tick().await?;
            }
            if self.is_convicted()? {
                return Ok(());
            }
        }
    }

    fn is_ready(&self, story: &Story, nth: usize, began: Millis) -> anyhow::Result<bool> {
        let judged = self.record.judge(&self.laboratory)?;
        let (history, ended, broken) = (judged.history, self.record.now(), None);
        let told = Told {
            history,
            asides: self.asides.so_far(),
            began,
            ended,
            broken,
            judged: judged.judged,
            journal: Journal::default(),
        };
        Ok(story.is_ready_for(nth, &story.log(&told, None)))
    }

    /// Asks the leader about a host. The answer is an aside.
    pub(super) fn explain(&mut self, host: &HostId) -> anyhow::Result<()> {
        let (host, asides, record, leader) = (host.clone(), self.asides.clone(), self.record.clone(), self.leader());
        let mut lines = self.lines()?;
        self.tasks.spawn(async move {
            let request = pb::ExplainRequest { subject: Some(Subject::Host(host.to_string())) };
            let asked = async { lines.to(leader?).await.ok()?.explain(request).await.ok() };
            let reply = timeout(ANSWER, asked).await.ok().flatten();
            let report = reply.and_then(|reply| reply.into_inner().host);
            asides.tell(record.now(), report.map_or(Aside::NoAnswer, |report| explained(host, report)));
        });
        Ok(())
    }

    /// Changes one of the settings, as a line of TOML says.
    pub(super) fn change_settings(&mut self, line: &str) -> anyhow::Result<()> {
        match story::changed(&self.settings, line) {
            Ok(settings) => self.set_settings(settings),
            Err(why) => {
                self.asides.tell(self.record.now(), Aside::Refused(why.to_string()));
                Ok(())
            }
        }
    }

    /// Asks for other settings.
    pub(super) fn set_settings(&mut self, settings: Settings) -> anyhow::Result<()> {
        let (asides, record) = (self.asides.clone(), self.record.clone());
        if settings.check().is_ok() {
            self.settings = settings.clone();
        }
        let mut lines = self.lines()?;
        let Some(leader) = self.leader() else {
            asides.tell(record.now(), Aside::NoAnswer);
            return Ok(());
        };
        self.tasks.spawn(async move {
            let id = [testimony::now().to_be_bytes(); 2].concat();
            let mutation = Some(pb::Mutation { request: id, reason: String::new() });
            let request = pb::SettingsSetRequest { mutation, settings: Some(settings.into()) };
            let asked: Result<_, Status> = async { lines.to(leader).await?.settings_set(request).await }.await;
            if let Err(status) = asked {
                let why = match detail(&status) {
                    Some(Detail::Rejected(why)) => why.to_string(),
                    Some(Detail::NotLeader { .. }) | None => status.message().into(),
                };
                asides.tell(record.now(), Aside::Refused(why));
            }
        });
        Ok(())
    }
}

fn explained(host: HostId, report: pb::HostReport) -> Aside {
    let reasons: Vec<Reason> = report.reasons.into_iter().filter_map(|reason| reason.try_into().ok()).collect();
    let row = report.host.unwrap_or_default();
    let maintenance = if row.maintenance.is_some() { ", in maintenance" } else { "" };
    let standing = match row.state.and_then(|state| state.kind) {
        None | Some(Kind::New(_)) => "new".into(),
        Some(Kind::Up(_)) => "up".into(),
        Some(Kind::Lost(_)) => "lost".into(),
        Some(Kind::Fencing(token)) => format!("being fenced, token #{token}"),
        Some(Kind::Fenced(token)) => format!("fenced, token #{token}"),
    };
    let unready = report.readiness.is_some_and(|looked| looked.fenceable_at_ms != Some(looked.at_ms));
    let looked = if unready { ", not fenceable when its devices were asked last" } else { "" };
    Aside::Explained { host, standing: standing + maintenance + looked, reasons }
}
