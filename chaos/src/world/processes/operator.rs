//! The operator: the command line as a person uses it, and one look after the other at every controller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quorumfence_machine::{ControllerId, HostId, Settings};
use quorumfence_node::cluster::identity::Peer;
use quorumfence_node::cluster::operator::{CONTEXT_VARIABLE, Context};
use quorumfence_node::wiring::dial::connect;
use quorumfence_proto::pb::cluster_client::ClusterClient;
use quorumfence_proto::pb::{ReadRequest, StatusReply};
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;

use super::found::words;
use super::net::endpoint;
use super::{Roll, clock};

/// How long a controller has to say how it is.
pub(super) const ANSWER: Duration = Duration::from_millis(800);

/// Between two looks at a controller.
const PAUSE: Duration = Duration::from_millis(250);

/// What a controller said this long ago is not news.
const FRESH: Duration = Duration::from_secs(2);

/// Deeds that are being done at once; a person has two hands.
const DEEDS_MAX: usize = 4;

/// One person with a context.
#[derive(Debug)]
pub(super) struct Operator {
    program: PathBuf,
    context: PathBuf,
    /// Commands that nobody waits for.
    deeds: Vec<Child>,
}

impl Operator {
    pub(super) fn new(place: &Path, program: &Path) -> Self {
        Self { program: program.into(), context: place.join("operator.toml"), deeds: Vec::new() }
    }

    pub(super) fn context(&self) -> PathBuf {
        self.context.clone()
    }

    /// Runs a command to its end and returns what it printed.
    pub(super) fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = tokio::task::block_in_place(|| self.command(arguments).output());
        let output = output.with_context(|| format!("{} cannot be run", self.program.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        // A join token is a secret, and long.
        let shown: Vec<&str> = arguments.iter().map(|word| if word.len() > 80 { "..." } else { word }).collect();
        ensure!(output.status.success(), "quorumfence {} failed: {}", shown.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    /// Begins a command that nobody waits for. A person who has both hands full does not begin.
    pub(super) fn begin(&mut self, arguments: &[&str]) -> anyhow::Result<()> {
        if self.deeds.len() < DEEDS_MAX {
            self.deeds.push(self.command(arguments).args(["--timeout", "10s"]).spawn().context("a command")?);
        }
        Ok(())
    }

    /// Begins a command whose end the caller waits for.
    pub(super) fn spawn(&self, arguments: &[String]) -> anyhow::Result<Child> {
        self.command(&words(arguments)).args(["--timeout", "10s"]).spawn().context("a command")
    }

    /// Forgets the commands that ended, and returns what those said that failed.
    pub(super) fn reap(&mut self) -> Vec<String> {
        let ended = self.deeds.extract_if(.., |deed| !matches!(deed.try_wait(), Ok(None)));
        ended.filter_map(|deed| complaint(deed.wait_with_output().ok()?)).collect()
    }

    /// Whether no command is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.deeds.is_empty()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env(CONTEXT_VARIABLE, &self.context);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// Returns what a command printed, or what it complained about.
pub(super) fn said(child: Child) -> Result<String, String> {
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout).trim().to_string();
    complaint(output).map_or(Ok(printed), Err)
}

/// Returns what a command that failed said, on one line.
fn complaint(output: std::process::Output) -> Option<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    (!output.status.success()).then(|| said.split_whitespace().collect::<Vec<_>>().join(" "))
}

impl super::Processes {
    /// Returns a client's own connections.
    pub(super) fn lines(&self) -> anyhow::Result<Lines> {
        Lines::open(&self.operator.context(), self.roll.clone())
    }

    /// Returns whether the cluster is armed and its storm brake open, the hosts in maintenance, and the settings, as the
    /// leader has it.
    pub(super) async fn brakes(&self) -> Option<(bool, Vec<HostId>, Settings)> {
        let leader = self.leader()?;
        let statuses = self.statuses.fresh();
        let cluster = statuses.get(&leader)?.cluster.as_ref()?;
        let may_fence = cluster.armed && cluster.storm.is_none();
        let mut lines = self.lines().ok()?;
        let asked = async { lines.to(leader).await?.host_list(ReadRequest { local: true }).await };
        let rows = timeout(ANSWER, asked).await.ok()?.ok()?.into_inner().hosts;
        let held = rows.into_iter().filter_map(|row| row.host).filter(|host| host.maintenance.is_some());
        let settings = cluster.settings.clone()?.try_into().ok()?;
        Some((may_fence, held.filter_map(|host| host.id.parse().ok()).collect(), settings))
    }
}

/// What each controller said last about itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Statuses(Arc<Mutex<BTreeMap<ControllerId, (Instant, StatusReply)>>>);

impl Statuses {
    /// Looks at one controller again and again, until dropped.
    pub(super) async fn follow(self, lines: Lines, id: ControllerId) {
        let mut lines = lines;
        loop {
            let request = ReadRequest { local: true };
            let asked = async { lines.to(id).await?.status(request).await };
            match timeout(ANSWER, asked).await {
                Ok(Ok(reply)) => drop(self.lock().insert(id, (clock(), reply.into_inner()))),
                Ok(Err(_)) | Err(_) => lines.hang_up(id),
            }
            sleep(PAUSE).await;
        }
    }

    /// Returns what was said of late.
    pub(super) fn fresh(&self) -> BTreeMap<ControllerId, StatusReply> {
        let said = self.lock();
        let fresh = said.iter().filter(|(_, (at, _))| at.elapsed() < FRESH);
        fresh.map(|(id, (_, reply))| (*id, reply.clone())).collect()
    }

    /// Returns the controller that says of itself that it leads, in the newest term.
    pub(super) fn leader(&self) -> Option<ControllerId> {
        let leads = |reply: &StatusReply| reply.leader.as_ref().is_some_and(|leader| leader.id == reply.controller);
        let fresh = self.fresh();
        let leader = fresh.iter().filter(|(_, reply)| leads(reply)).max_by_key(|(_, reply)| reply.term);
        leader.map(|(id, _)| *id)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ControllerId, (Instant, StatusReply)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client's connections to controllers.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    context: Context,
    roll: Roll,
    channels: BTreeMap<ControllerId, Channel>,
}

impl Lines {
    fn open(context: &Path, roll: Roll) -> anyhow::Result<Self> {
        Ok(Self { context: Context::load(context)?, roll, channels: BTreeMap::new() })
    }

    /// Returns the line to a controller, which may have been open before.
    pub(super) async fn to(&mut self, id: ControllerId) -> Result<ClusterClient<Channel>, Status> {
        let channel = match self.channels.get(&id) {
            Some(channel) => channel.clone(),
            None => {
                let tls = self.context.identity.client_tls(&Peer::Controller(id));
                let address = self.roll.address(id).ok_or_else(|| Status::unavailable(format!("{id} is gone")))?;
                let channel = connect(&endpoint(address), tls, ANSWER).await?;
                self.channels.insert(id, channel.clone());
                channel
            }
        };
        Ok(ClusterClient::new(channel))
    }

    /// Gives up the line to a controller.
    pub(super) fn hang_up(&mut self, id: ControllerId) {
        self.channels.remove(&id);
    }
}
