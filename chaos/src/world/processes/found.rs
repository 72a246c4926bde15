//! From nothing to a cluster that is green and armed, with the commands that an operator uses.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use quorumfence_machine::{ControllerId, HostId};
use quorumfence_proto::pb::ReadRequest;

use super::controllers::Seat;
use super::hosts::{BMC_PORT, PASSWORD, USER};
use super::net::{bmc, controller};
use super::operator::Lines;
use super::{Processes, controller_address, wait_until};
use crate::fault::Place;
use crate::observation::Seen;
use crate::swarm::Shape;
use crate::world::sim::host;

const FIRST: ControllerId = ControllerId(1);

impl Processes {
    /// Founds the cluster that a shape describes. Everything of the shape that this world cannot do is not in its plans.
    pub(super) async fn found(&mut self, shape: &Shape) -> anyhow::Result<()> {
        let (settings, segment) = shape.policy();
        let run = format!("seed {} of processes", self.seed);
        self.record.see(Seen::Opened { run, settings, segment: segment.clone() });
        self.first_controller().await?;
        for number in 2..=shape.controllers {
            self.join_controller(ControllerId(number.into())).await?;
        }
        let (threshold, interval) = (segment.failure_threshold.to_string(), format!("{}ms", segment.check_interval.0));
        let timing = ["--failure-threshold", &threshold, "--check-interval", &interval];
        let healthy = segment.minimum_healthy_percent.to_string();
        let create = ["segment", "create", segment.id.as_str(), "--minimum-healthy", &healthy];
        self.operator.run(&[&create[..], &timing].concat())?;
        let hosts: Vec<(HostId, u8)> = (1..=shape.hosts).map(|number| (host(number), number)).collect();
        for (host, number) in &hosts {
            self.rack(host, *number, shape.instances_per_host)?;
        }
        self.join_agents(&hosts)?;
        // It also writes the controllers' addresses into the operator's context.
        self.operator.run(&["status"])?;
        for id in self.seats.keys() {
            let lines = Lines::open(&self.operator.context())?;
            self.tasks.spawn(self.statuses.clone().follow(lines, *id));
        }
        self.enrol(&hosts, segment.id.as_str()).await?;
        let instances = u32::from(shape.hosts) * u32::from(shape.instances_per_host);
        let mut lines = Lines::open(&self.operator.context())?;
        self.wait_while_tending("the admission of every host and instance", async |_| {
            let status = lines.to(FIRST).await?.status(ReadRequest { local: true }).await?.into_inner();
            let up = status.hosts.unwrap_or_default().up;
            Ok(up == u32::from(shape.hosts) && status.instances == instances)
        })
        .await?;
        self.operator.run(&["arm", "--reason", "the run begins"]).map(drop)
    }

    async fn first_controller(&mut self) -> anyhow::Result<()> {
        let seat = Seat::new(&self.place, FIRST)?;
        let (directory, address) = (path(seat.directory()), controller_address(FIRST));
        let init = ["cluster", "init", "--name", "chaos", "--data-dir", &directory, "--profile", "fast"];
        let places = ["--listen", &address, "--advertise", &address, "--laboratory"];
        self.operator.run(&[&init[..], &places].concat())?;
        self.begin(FIRST, seat)?;
        let operator = &self.operator;
        wait_until("the founding of the cluster", async || Ok(operator.run(&["status"]).is_ok())).await
    }

    async fn join_controller(&mut self, id: ControllerId) -> anyhow::Result<()> {
        let token = self.operator.run(&["token", "create", "--role", "controller"])?;
        let seat = Seat::new(&self.place, id)?;
        let (directory, address) = (path(seat.directory()), controller_address(id));
        let known = controller_address(FIRST);
        let join = ["controller", "join", "--token", &token, "--controller", &known, "--data-dir", &directory];
        let places = ["--listen", &address, "--advertise", &address, "--profile", "fast", "--laboratory"];
        self.operator.run(&[&join[..], &places].concat())?;
        self.begin(id, seat)?;
        self.operator.run(&["member", "add", &id.0.to_string(), "--promote", "--wait"]).map(drop)
    }

    /// Tells a controller where its witness listens, and starts it.
    fn begin(&mut self, id: ControllerId, seat: Seat) -> anyhow::Result<()> {
        let written = fs::read_to_string(seat.config()).context("a controller's configuration")?;
        let witness = path(&self.place.join("witness"));
        let text = format!("{written}laboratory_socket = \"{witness}\"\n");
        fs::write(seat.config(), text).context("a controller's configuration")?;
        self.net.plug(Place::Controller(id), controller(id)).context("a controller's network")?;
        self.seats.insert(id, seat);
        self.start(id)
    }

    fn join_agents(&mut self, hosts: &[(HostId, u8)]) -> anyhow::Result<()> {
        let uses = hosts.len().to_string();
        let token = self.operator.run(&["token", "create", "--role", "agent", "--uses", &uses])?;
        let known = controller_address(FIRST);
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

    async fn enrol(&mut self, hosts: &[(HostId, u8)], segment: &str) -> anyhow::Result<()> {
        let mut lines = Lines::open(&self.operator.context())?;
        self.wait_while_tending("the first report of every agent", async |processes| {
            let id = processes.leader().unwrap_or(FIRST);
            let reply = lines.to(id).await?.host_list(ReadRequest { local: true }).await?.into_inner();
            let reported =
                |row: &&quorumfence_proto::pb::HostReport| row.host.as_ref().is_some_and(|host| host.agent.is_some());
            Ok(reply.hosts.iter().filter(reported).count() == hosts.len())
        })
        .await?;
        let file = self.place.join("password");
        let mut private = fs::OpenOptions::new();
        let mut private = private.write(true).create(true).truncate(true).mode(0o600).open(&file).context("a file")?;
        std::io::Write::write_all(&mut private, PASSWORD.as_bytes()).context("a file")?;
        for (host, number) in hosts {
            let (address, file) = (format!("{}:{BMC_PORT}", bmc(*number)), path(&file));
            let enrol = ["host", "enrol", host.as_str(), "--segment", segment, "--bmc", &address];
            self.operator.run(&[&enrol[..], &["--user", USER, "--password-file", &file]].concat())?;
        }
        Ok(())
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
            anyhow::ensure!(began.elapsed() < super::PATIENCE, "{what} did not happen within {:?}", super::PATIENCE);
            tokio::time::sleep(super::LOOK).await;
        }
    }
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
