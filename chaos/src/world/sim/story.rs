//! Plays a story: its cluster, its script, and then either the end or the healing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use quorumfence_machine::{Change, Millis};
use quorumfence_raft::Options;
use tokio::time::sleep;

use super::asides::Aside;
use super::play::{TICK, due};
use super::runtime::Rate;
use super::workload::Clients;
use super::{Person, Sim, run};
use crate::journal::Journal;
use crate::observation::{Observation, Seen};
use crate::script::Script;
use crate::story::{Ending, Scene};
use crate::swarm::LastBlow;
use crate::verdict::Broken;

/// Scripts begin at a multiple of this, so that their times are easy to find in a trace.
const ROUND: Millis = Millis(10_000);

/// How a story went.
#[derive(Debug)]
pub struct Told {
    /// Everything that was seen.
    pub history: Vec<Observation>,
    /// What people saw and were told, with the time of the world.
    pub asides: Vec<(Millis, Aside)>,
    /// When the script began.
    pub began: Millis,
    /// When it all ended.
    pub ended: Millis,
    /// The promise that broke.
    pub broken: Option<Broken>,
    /// How often each promise was put to the test.
    pub judged: BTreeMap<&'static str, u64>,
    /// What the log said.
    pub journal: Journal,
}

/// Plays a script in a cluster, to the end or to the first broken promise.
///
/// # Errors
///
/// The cluster could not even be founded.
pub fn tell(scene: &Scene, script: &Script, ending: Ending) -> anyhow::Result<Told> {
    let (scene, script) = (scene.clone(), script.clone());
    run(scene.seed, |mut sim| async move {
        sim.operator = Person { name: "operator", reason: "by hand" };
        sim.set(&scene).await.context("the cluster of the story cannot be founded")?;
        sleep(Duration::from_secs(2)).await;
        let over = Millis(sim.laboratory().now().0 % ROUND.0);
        sleep((ROUND - over).into()).await;
        let began = sim.laboratory().now();
        let clients = if scene.clients { sim.open_for_clients() } else { Clients::none() };
        sim.perform(script, began + ending.at()).await;
        clients.send_home();
        if sim.record.broken().is_none() {
            match ending {
                Ending::Heal(_) => sim.converge(&clients, None, LastBlow::None).await,
                Ending::End(_) => {}
            }
        }
        let ended = sim.laboratory().now();
        let (history, judged) = sim.record.close();
        let (asides, broken, journal) = (sim.asides.close(), sim.record.broken(), sim.record.journal());
        Ok(Told { history, asides, began, ended, broken, judged, journal })
    })
}

impl Sim {
    /// Founds the cluster of a story.
    async fn set(&mut self, scene: &Scene) -> anyhow::Result<()> {
        let log_kept = scene.snapshot_after / 4;
        self.options = Options { snapshot_after: scene.snapshot_after, log_kept, ..Options::default() };
        for (drift, id) in scene.drift.iter().zip(1..) {
            self.rates.insert(quorumfence_machine::ControllerId(id), Rate::new(*drift));
        }
        let (settings, segment) = (scene.settings.clone(), scene.segment.clone());
        self.record.see(Seen::Opened { run: "story".into(), settings: settings.clone(), segment: segment.clone() });
        self.first_controller(settings).await?;
        for number in 2..=scene.controllers {
            self.join_controller(u64::from(number)).await?;
        }
        self.propose(Change::SegmentCreate { segment }).await?;
        for machine in &scene.machines {
            self.add_machine(machine).await?;
        }
        let instances: usize = scene.machines.iter().map(|machine| machine.instances.len()).sum();
        self.wait_for("every enrolled host admitted", |state| {
            state.hosts().all(|host| host.enrolment.is_none() || host.up_boot().is_some())
                && state.instances().count() == instances
        })
        .await?;
        if scene.armed {
            self.propose(Change::Arm { reason: "the story begins".into() }).await?;
        }
        Ok(())
    }

    async fn perform(&mut self, script: Script, until: Millis) {
        let mut actions = script.actions.into_iter();
        let mut next = None;
        let began = self.laboratory().now();
        loop {
            let now = self.laboratory().now();
            self.tend();
            self.note_leaders();
            for fault in due(&mut actions, &mut next, now - began) {
                self.inflict(&fault);
            }
            if now >= until || self.record.broken().is_some() {
                return;
            }
            sleep(TICK).await;
        }
    }
}
