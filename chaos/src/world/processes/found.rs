//! From nothing to a cluster that is green and armed, with the commands that an operator uses.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use quorumfence_machine::{ControllerId, HostId, Segment, Settings};
use quorumfence_node::config;
use quorumfence_proto::pb;

use super::controllers::Seat;
use super::hosts::{BMC_PORT, PASSWORD, USER};
use super::net::{bmc, endpoint};
use super::{Processes, wait_until};
use crate::fault::{Gear, Levels, Place};
use crate::observation::Seen;
use crate::story::Scene;
use crate::swarm::Profile;
use crate::world::sim::host;

const FIRST: ControllerId = ControllerId(1);

impl Processes {
    /// Founds the cluster of a scene, whose consensus is as patient as a profile says.
    pub(super) async fn found(&mut self, scene: &Scene, profile: Profile) -> anyhow::Result<()> {
        let run = format!("seed {} of processes", self.seed);
        let (settings, segment) = (scene.settings.clone(), scene.segment.clone());
        self.record.see(Seen::Opened { run, settings: settings.clone(), segment: segment.clone() });
        self.first_controller().await?;
        for _ in 1..scene.controllers {
            self.join_controller()?;
        }
        self.set_policy(settings, segment, profile).await?;
        let hosts: BTreeMap<HostId, u8> =
            scene.machines.iter().map(|machine| (host(machine.number), machine.number)).collect();
        for machine in &scene.machines {
            self.rack(machine)?;
        }
        self.join_agents(&hosts)?;
        // It also writes the controllers' addresses into the operator's context.
        self.operator.run(&["status"])?;
        for id in self.seats.keys() {
            let lines = self.lines()?;
            self.tasks.spawn(self.statuses.clone().follow(lines, *id));
        }
        self.enrol_all(scene, hosts.len()).await?;
        let enrolled = scene.machines.iter().filter(|machine| machine.levels.is_some()).count();
        let instances: usize = scene.machines.iter().map(|machine| machine.instances.len()).sum();
        let mut lines = self.lines()?;
        self.wait_while_tending("the admission of every host and instance", async |_| {
            let status = lines.to(FIRST).await?.status(pb::ReadRequest { local: true }).await?.into_inner();
            let up = usize::try_from(status.hosts.unwrap_or_default().up)?;
            Ok(up == enrolled && usize::try_from(status.instances)? == instances)
        })
        .await?;
        if scene.armed {
            self.operator.run(&["arm", "--reason", "the run begins"])?;
        }
        Ok(())
    }

    async fn first_controller(&mut self) -> anyhow::Result<()> {
        let (id, seat) = self.new_seat()?;
        let (directory, address) = (path(seat.directory()), endpoint(seat.address()));
        let init = ["cluster", "init", "--name", "chaos", "--data-dir", &directory, "--profile", self.patience];
        let places = ["--listen", &address, "--advertise", &address, "--laboratory"];
        self.operator.run(&[&init[..], &places].concat())?;
        self.begin(id, seat)?;
        let operator = &self.operator;
        wait_until("the founding of the cluster", async || Ok(operator.run(&["status"]).is_ok())).await
    }

    fn join_controller(&mut self) -> anyhow::Result<()> {
        let token = self.operator.run(&["token", "create", "--role", "controller"])?;
        let (id, seat) = self.new_seat()?;
        self.operator.run(&words(&self.join_words(&seat, &token)))?;
        self.begin(id, seat)?;
        self.operator.run(&["member", "add", &id.0.to_string(), "--promote", "--wait"]).map(drop)
    }

    /// Returns the command by which a controller joins.
    pub(super) fn join_words(&self, seat: &Seat, token: &str) -> Vec<String> {
        let (directory, address) = (path(seat.directory()), endpoint(seat.address()));
        let leader = self.leader().and_then(|leader| self.seats.get(&leader));
        let known = leader.or_else(|| self.seats.values().next()).unwrap_or(seat);
        let known = endpoint(known.address());
        let join = ["controller", "join", "--token", token, "--controller", &known, "--data-dir", &directory];
        let places = ["--listen", &address, "--advertise", &address, "--profile", self.patience, "--laboratory"];
        join.into_iter().chain(places).map(String::from).collect()
    }

    /// Tells a controller where its witness listens and how often it takes snapshots, and starts it.
    pub(super) fn begin(&mut self, id: ControllerId, mut seat: Seat) -> anyhow::Result<()> {
        let text = toml::to_string(&config::Controller {
            laboratory_socket: Some(self.place.join("witness")),
            snapshot_after: self.snapshot_after,
            log_kept: self.snapshot_after / 4,
            ..config::Controller::load(&seat.config()).context("a controller's configuration")?
        })
        .context("a controller's configuration")?;
        // Synced, or the first power cut takes a part of it.
        let mut file = fs::File::create(seat.config()).context("a controller's configuration")?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).context("a controller's configuration")?;
        self.net.plug(Place::Controller(id), seat.address()).context("a controller's network")?;
        if let Some(workshop) = &self.workshop {
            let nth = usize::try_from(id.0).unwrap_or(0).saturating_sub(1);
            let (clock, bend) = workshop.clock(id, self.rates.get(nth).copied().unwrap_or(0))?;
            self.record.bend(id, bend);
            seat.clock = Some(clock);
        }
        self.members.clerk.given(id);
        self.seats.insert(id, seat);
        self.roll.set(&self.seats);
        self.start(id)
    }

    async fn set_policy(&self, settings: Settings, segment: Segment, profile: Profile) -> anyhow::Result<()> {
        let mutation = |request: u8| Some(pb::Mutation { request: vec![request; 16], reason: String::new() });
        let mut lines = self.lines()?;
        let client = &mut lines.to(FIRST).await?;
        let initial = match profile {
            Profile::Fast => config::Profile::Fast.settings(),
            Profile::Default => config::Profile::Default.settings(),
        };
        if settings != initial {
            let request = pb::SettingsSetRequest { mutation: mutation(1), settings: Some(settings.into()) };
            client.settings_set(request).await.context("the settings of the scene")?;
        }
        let request = pb::SegmentCreateRequest { mutation: mutation(2), segment: Some(segment.into()) };
        client.segment_create(request).await.context("the segment of the scene").map(drop)
    }

    fn join_agents(&mut self, hosts: &BTreeMap<HostId, u8>) -> anyhow::Result<()> {
        let uses = hosts.len().to_string();
        let token = self.operator.run(&["token", "create", "--role", "agent", "--uses", &uses])?;
        let known = endpoint(self.seats.get(&FIRST).context("the first controller")?.address());
        for (host, number) in hosts {
            let directory = self.place.join(host.as_str());
            let (place, hypervisor) = (path(&directory), path(&self.hypervisor_socket(host)));
            let hypervisor = format!("laboratory:{hypervisor}");
            let join = ["agent", "join", "--host", host.as_str(), "--token", &token, "--controller", &known];
            self.operator.run(&[&join[..], &["--data-dir", &place, "--hypervisor", &hypervisor]].concat())?;
            let machine = quorumfence_machine::SystemUuid([*number; 16]);
            fs::write(directory.join("machine"), format!("{machine}\n")).context("a machine's name")?;
            let text = format!(
                "data_dir = \"{place}\"\nhost = \"{host}\"\nhypervisor = \"{hypervisor}\"\nlaboratory = true\n\
                 boot_id_file = \"{place}/boot\"\nsystem_uuid_file = \"{place}/machine\"\n"
            );
            fs::write(directory.join("agent.toml"), text).context("an agent's configuration")?;
        }
        Ok(())
    }

    async fn enrol_all(&mut self, scene: &Scene, hosts: usize) -> anyhow::Result<()> {
        let mut lines = self.lines()?;
        self.wait_while_tending("the first report of every agent", async |processes| {
            let id = processes.leader().unwrap_or(FIRST);
            let reply = lines.to(id).await?.host_list(pb::ReadRequest { local: true }).await?.into_inner();
            let reported = |row: &&pb::HostReport| row.host.as_ref().is_some_and(|host| host.agent.is_some());
            Ok(reply.hosts.iter().filter(reported).count() == hosts)
        })
        .await?;
        let mut private = fs::OpenOptions::new();
        let private = private.write(true).create(true).truncate(true).mode(0o600).open(self.password());
        private.context("a file")?.write_all(PASSWORD.as_bytes()).context("a file")?;
        for machine in &scene.machines {
            if let Some(levels) = &machine.levels {
                self.operator.run(&words(&self.enrol_words(&host(machine.number), levels)?))?;
            }
        }
        Ok(())
    }

    /// Returns the command that gives a host its levels.
    ///
    /// # Errors
    ///
    /// The product has no driver for one of them.
    pub(super) fn enrol_words(&self, host: &HostId, levels: &Levels) -> anyhow::Result<Vec<String>> {
        let segment = self.segment.to_string();
        let mut command: Vec<String> =
            vec!["host".into(), "enrol".into(), host.to_string(), "--segment".into(), segment];
        for level in &levels.0 {
            let other = match level.as_slice() {
                [Gear::Bmc] => host,
                [Gear::BmcOf(other)] => other,
                _ => anyhow::bail!("the product has no driver for the level {}", Levels(vec![level.clone()])),
            };
            let number = self.stations.get(other).with_context(|| format!("{other} is no host"))?.number;
            command.extend(["--bmc".into(), format!("{}:{BMC_PORT}", bmc(number))]);
        }
        if !levels.0.is_empty() {
            command.extend(["--user".into(), USER.into(), "--password-file".into(), path(&self.password())]);
        }
        Ok(command)
    }

    fn password(&self) -> PathBuf {
        self.place.join("password")
    }

    /// Waits until something holds, and meanwhile lets processes follow their machines.
    async fn wait_while_tending(
        &mut self,
        what: &str,
        mut holds: impl AsyncFnMut(&Self) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let began = super::clock();
        loop {
            self.tend()?;
            // A controller that is not ready is asked again.
            if holds(self).await.unwrap_or(false) {
                return Ok(());
            }
            ensure!(began.elapsed() < super::PATIENCE, "{what} did not happen within {:?}", super::PATIENCE);
            tokio::time::sleep(super::LOOK).await;
        }
    }
}

/// Returns words as the operator takes them.
pub(super) fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
