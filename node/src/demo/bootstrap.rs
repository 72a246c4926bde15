//! From nothing to a cluster that is green and armed, with the commands that an operator uses.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorumfence_machine::{ControllerId, HostId};

use super::console::Console;
use super::remote::{Remote, until};
use super::shell::Shell;
use super::stage::Stage;
use crate::cli::{Exit, Failure};
use crate::config::Profile;

/// Controllers of the demo.
pub(super) const CONTROLLERS: u64 = 3;

/// Longest wait for one step.
const PATIENCE: Duration = Duration::from_secs(120);

const SEGMENT: &str = "demo";

/// Makes the cluster on a stage, and returns the way to it.
pub(super) async fn bootstrap<S: Stage>(
    stage: &mut S,
    shell: &Shell,
    console: Console,
    profile: Profile,
) -> Result<Remote, Failure> {
    console.say("\nThe first controller founds the cluster, two more join it:")?;
    found(stage, shell, profile).await?;
    for number in 2..=CONTROLLERS {
        join(stage, shell, ControllerId(number), profile).await?;
    }
    console.say("\nHosts join through their agents; then each gets its segment and its BMC:")?;
    let interval = check_interval(profile);
    shell.run(&["segment", "create", SEGMENT, "--failure-threshold", "3", "--check-interval", interval]).await?;
    join_hosts(stage, shell, console).await?;
    stage.start_hosts(shell).await?;
    // It also writes the controllers' addresses into the operator's context.
    shell.run(&["status", "-o", "json"]).await?;
    let mut remote = Remote::open(&shell.context())?;
    if remote.controllers() != usize::try_from(CONTROLLERS).expect("there are few") {
        let message =
            format!("the operator's context names {} controllers instead of {CONTROLLERS}", remote.controllers());
        return Err(Failure::new(Exit::Failed, message));
    }
    enrol_hosts(stage, shell, console, &mut remote).await?;
    console.say("\nGuests start; the cluster learns of them from the agents:")?;
    stage.start_guests().await?;
    let guests = stage.guests().len();
    until("the registration of every guest", PATIENCE, async || {
        Ok(usize::try_from(remote.status().await?.instances) == Ok(guests))
    })
    .await?;
    Ok(remote)
}

/// Tests the victim's BMC, arms the cluster and shows it.
pub(super) async fn arm(shell: &Shell, console: Console, victim: &HostId) -> Result<(), Failure> {
    console.say("\nAll is green. The BMC is read, not switched; then the cluster may fence:")?;
    shell.show(&["fence", "test", victim.as_str()]).await?;
    shell.run(&["arm", "--reason", "the demo begins"]).await?;
    shell.show(&["status"]).await
}

/// Returns the time between two checks: detection takes three of them.
pub(super) fn check_interval(profile: Profile) -> &'static str {
    match profile {
        Profile::Fast => "250ms",
        Profile::Default => "1s",
    }
}

/// Controllers refuse simulated hosts unless they were told otherwise.
fn laboratory<S: Stage>(stage: &S) -> &'static [&'static str] {
    if stage.is_laboratory() { &["--laboratory"] } else { &[] }
}

fn profile_name(profile: Profile) -> &'static str {
    match profile {
        Profile::Fast => "fast",
        Profile::Default => "default",
    }
}

async fn found<S: Stage>(stage: &mut S, shell: &Shell, profile: Profile) -> Result<(), Failure> {
    let first = ControllerId(1);
    let address = stage.controller_address(first);
    let directory = controller_directory(shell, first);
    let place = directory.to_string_lossy();
    let profile = profile_name(profile);
    let arguments = ["cluster", "init", "--name", "demo", "--data-dir", &place, "--listen", &address];
    let arguments = [&arguments[..], &["--advertise", &address, "--profile", profile]].concat();
    shell.run(&[&arguments[..], laboratory(stage)].concat()).await?;
    stage.start_controller(shell, first, &directory.join("controller.toml")).await?;
    let mut remote = Remote::open(&shell.context())?;
    until("the founding of the cluster", PATIENCE, async || Ok(remote.status().await?.cluster.is_some())).await
}

async fn join<S: Stage>(stage: &mut S, shell: &Shell, id: ControllerId, profile: Profile) -> Result<(), Failure> {
    let token = shell.run(&["token", "create", "--role", "controller"]).await?;
    let first = stage.controller_address(ControllerId(1));
    let address = stage.controller_address(id);
    let directory = controller_directory(shell, id);
    let place = directory.to_string_lossy();
    let profile = profile_name(profile);
    let arguments = ["controller", "join", "--token", token.trim(), "--controller", &first, "--data-dir", &place];
    let arguments = [&arguments[..], &["--listen", &address, "--advertise", &address, "--profile", profile]].concat();
    shell.run(&[&arguments[..], laboratory(stage)].concat()).await?;
    stage.start_controller(shell, id, &directory.join("controller.toml")).await?;
    let number = id.0.to_string();
    shell.run(&["member", "add", &number, "--promote", "--wait"]).await.map(drop)
}

async fn join_hosts<S: Stage>(stage: &S, shell: &Shell, console: Console) -> Result<(), Failure> {
    let hosts = stage.hosts();
    let uses = hosts.len().to_string();
    let token = shell.run(&["token", "create", "--role", "agent", "--uses", &uses]).await?;
    let first = stage.controller_address(ControllerId(1));
    for (number, host) in hosts.iter().enumerate() {
        let directory = stage.agent_directory(host);
        let place = directory.to_string_lossy();
        let arguments = ["agent", "join", "--host", host.as_str(), "--token", token.trim()];
        let arguments = [&arguments[..], &["--controller", &first, "--data-dir", &place]].concat();
        for_each_host(shell, number, &arguments).await?;
    }
    same_for_the_others(console, &hosts)
}

async fn enrol_hosts<S: Stage>(stage: &S, shell: &Shell, console: Console, remote: &mut Remote) -> Result<(), Failure> {
    let hosts = stage.hosts();
    until("the first report of every agent", PATIENCE, async || {
        let reports = remote.hosts().await?;
        let reported =
            |report: &&quorumfence_proto::pb::HostReport| report.host.as_ref().is_some_and(|host| host.agent.is_some());
        Ok(reports.iter().filter(reported).count() == hosts.len())
    })
    .await?;
    for (number, host) in hosts.iter().enumerate() {
        let Some(bmc) = stage.bmc(host) else {
            stage.enrol_past_the_command_line(host, &SEGMENT.parse().expect("it is a name")).await?;
            continue;
        };
        let file = shell.context().with_file_name(format!("{host}.password"));
        write_private(&file, &bmc.password)?;
        let (address, file) = (bmc.address.to_string(), file.to_string_lossy());
        let mut arguments = vec!["host", "enrol", host.as_str(), "--segment", SEGMENT];
        let ping = stage.ping(host);
        if let Some(ping) = &ping {
            arguments.extend(["--ping", ping]);
        }
        arguments.extend(["--bmc", &address, "--user", &bmc.user, "--password-file", &file]);
        for_each_host(shell, number, &arguments).await?;
    }
    match stage.bmc(&hosts[0]) {
        Some(_) => same_for_the_others(console, &hosts)?,
        None => console.say("  (in the laboratory) every host is enrolled with a simulated BMC")?,
    }
    until("the admission of every host", PATIENCE, async || {
        let counts = remote.status().await?.hosts.unwrap_or_default();
        Ok(usize::try_from(counts.up) == Ok(hosts.len()))
    })
    .await
}

/// Shows a command for the first host only: the others' differ by a name.
async fn for_each_host(shell: &Shell, number: usize, arguments: &[&str]) -> Result<(), Failure> {
    match number {
        0 => shell.run(arguments).await.map(drop),
        _ => shell.run_unseen(arguments).await.map(drop),
    }
}

fn same_for_the_others(console: Console, hosts: &[HostId]) -> Result<(), Failure> {
    let names: Vec<&str> = hosts.iter().skip(1).map(HostId::as_str).collect();
    console.say(&format!("    and the same for {}", names.join(", ")))
}

fn controller_directory(shell: &Shell, id: ControllerId) -> PathBuf {
    shell.context().with_file_name(id.to_string())
}

fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::of(Exit::Failed, &error))
}
