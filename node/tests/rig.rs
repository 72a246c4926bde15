//! The simulated hosts of `quorumfence demo`: real libvirtd, QEMU and ipmi_sim in namespaces. Needs root on Linux.
#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![expect(clippy::print_stdout, reason = "figures for the one who runs it")]
#![expect(clippy::disallowed_methods, reason = "the hosts are real, and so is the clock")]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use quorumfence_drivers::hypervisor::conformance::{self, Subject};
use quorumfence_drivers::hypervisor::libvirt::Libvirt;
use quorumfence_drivers::order::Hypervisor;
use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{InstanceId, InstanceState, Outcome, Power};
use quorumfence_node::demo::hosts::judge::two_at_once;
use quorumfence_node::demo::hosts::{GuestSpec, Host, Options, Rig};

const PATIENCE: Duration = Duration::from_secs(60);

fn rig(directory: &tempfile::TempDir, hosts: u8) -> Rig {
    let options = Options { hosts, bmc_user: "admin".into(), bmc_password: Secret::new("s3cret") };
    Rig::create(directory.path(), &options).unwrap_or_else(|error| panic!("{error}"))
}

fn guest() -> GuestSpec {
    GuestSpec { instance: "11111111-1111-4111-8111-111111111111".parse().unwrap(), name: "vm1".into(), priority: 900 }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    began.elapsed()
}

fn virsh(host: &Host, arguments: &[&str]) -> String {
    let output = host.inside("virsh").unwrap().args(arguments).output().unwrap();
    assert!(output.status.success(), "virsh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn ipmitool(host: &Host, arguments: &[&str]) -> String {
    let bmc = host.bmc();
    let password = std::str::from_utf8(bmc.password().expose()).unwrap();
    let output = Command::new("ipmitool")
        .args(["-I", "lanplus", "-C", "3", "-N", "1", "-R", "1", "-H", &bmc.address().ip().to_string()])
        .args(["-p", &bmc.address().port().to_string(), "-U", bmc.user(), "-P", password])
        .args(arguments)
        .output()
        .expect("ipmitool is installed");
    format!("{}{}", String::from_utf8_lossy(&output.stdout).trim(), String::from_utf8_lossy(&output.stderr).trim())
}

fn start(rig: &Rig, host: &Host, guest: &GuestSpec) {
    let file = host.directory().join("start.xml");
    fs::write(&file, rig.guest_definition(guest)).unwrap();
    virsh(host, &["create", file.to_str().unwrap(), "--validate"]);
}

fn lines_on(rig: &Rig, host: &Host, instance: InstanceId) -> usize {
    rig.guests().lines(instance).iter().filter(|line| line.host == *host.id()).count()
}

/// Processes whose command line names the rig's directory and this instance: QEMU, wherever it runs.
fn processes_naming(text: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let lines = processes.filter_map(|process| fs::read(process.join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(text)).collect()
}

#[test]
fn a_power_off_at_the_bmc_kills_everything_on_the_host_and_its_guest_starts_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig(&directory, 2);
    let (first, second) = (rig.host(1), rig.host(2));
    let guest = guest();
    first.set_command("exec sleep 98765").unwrap();

    let began = Instant::now();
    first.power_on().unwrap();
    second.power_on().unwrap();
    first.wait_for_libvirt().unwrap();
    println!("libvirt answers {:?} after power-on", began.elapsed());
    start(&rig, first, &guest);
    wait("the guest's tenth line", || lines_on(&rig, first, guest.instance) >= 10);
    let run = rig.guests().runs(guest.instance).remove(0);
    println!("first console line {:?} after QEMU's start", run.first_at - run.qemu_at.unwrap());
    assert_eq!(ipmitool(first, &["chassis", "power", "status"]), "Chassis Power is on");
    let guid = ipmitool(first, &["raw", "0x06", "0x37"]).replace([' ', '\n'], "");
    assert_eq!(guid, first.system_uuid().to_string().replace('-', ""));

    let init = fs::read_to_string(first.directory().join("init")).unwrap();
    let qemu = format!("{}/shared/kernel", rig.directory().display());
    assert_eq!(processes_naming(&qemu).len(), 1);
    let cut = Instant::now();
    assert_eq!(ipmitool(first, &["chassis", "power", "off"]), "Chassis Power Control: Down/Off");
    wait("the status off", || ipmitool(first, &["chassis", "power", "status"]) == "Chassis Power is off");
    println!("off {:?} after the order", cut.elapsed());
    assert_eq!(processes_naming(&qemu), Vec::<String>::new());
    assert!(!std::path::Path::new(&format!("/proc/{}", init.split_whitespace().next().unwrap())).exists());
    assert_eq!(processes_naming("sleep 98765"), Vec::<String>::new());
    assert_eq!(first.power().unwrap(), Power::Off);

    second.wait_for_libvirt().unwrap();
    start(&rig, second, &guest);
    wait("the guest's tenth line elsewhere", || lines_on(&rig, second, guest.instance) >= 10);
    let last_on_first = rig.guests().runs(guest.instance)[0].last_at;
    assert!(last_on_first < cut + Duration::from_secs(1), "the dead host's guest went on writing");
    assert_eq!(two_at_once(&rig.guests().runs(guest.instance)), None);

    let old_boot = fs::read_to_string(first.boot_id_file()).unwrap();
    assert_eq!(ipmitool(first, &["chassis", "power", "on"]), "Chassis Power Control: Up/On");
    wait("the status on", || ipmitool(first, &["chassis", "power", "status"]) == "Chassis Power is on");
    first.wait_for_libvirt().unwrap();
    let new_boot = fs::read_to_string(first.boot_id_file()).unwrap();
    assert_ne!(new_boot, old_boot);
    let inside = first.inside("cat").unwrap().arg("/proc/sys/kernel/random/boot_id").output().unwrap();
    assert_eq!(String::from_utf8(inside.stdout).unwrap(), new_boot);
    assert_eq!(virsh(first, &["list", "--all", "--name"]).trim(), "");

    // The host that the BMC switched on holds nothing of the BMC's.
    first.bmc().kill();
    first.bmc().start().unwrap();
    assert_eq!(ipmitool(first, &["chassis", "power", "status"]), "Chassis Power is on");
}

#[test]
fn the_judge_sees_an_instance_that_runs_on_two_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig(&directory, 2);
    let guest = guest();
    for host in rig.hosts() {
        host.power_on().unwrap();
    }
    for host in rig.hosts() {
        host.wait_for_libvirt().unwrap();
        start(&rig, host, &guest);
    }
    wait("lines on both hosts", || rig.hosts().iter().all(|host| lines_on(&rig, host, guest.instance) >= 10));
    assert!(two_at_once(&rig.guests().runs(guest.instance)).is_some());
}

#[test]
fn an_isolated_host_runs_on_and_its_bmc_stays_reachable() {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig(&directory, 1);
    let host = rig.host(1);
    let ping = || {
        let address = host.address().to_string();
        let ping = Command::new("busybox").args(["ping", "-c", "1", "-W", "1", &address]).output().unwrap();
        ping.status.success()
    };
    host.power_on().unwrap();
    wait("an answer from the host", &ping);
    host.isolate().unwrap();
    assert!(!ping());
    assert_eq!(ipmitool(host, &["chassis", "power", "status"]), "Chassis Power is on");
    host.heal().unwrap();
    wait("an answer from the healed host", &ping);

    host.bmc().silence();
    assert!(ipmitool(host, &["chassis", "power", "status"]).contains("Unable to establish"));
    host.bmc().speak();
    wait("an answer from the BMC", || ipmitool(host, &["chassis", "power", "status"]) == "Chassis Power is on");
    host.bmc().kill();
    assert!(ipmitool(host, &["chassis", "power", "status"]).contains("Unable to establish"));
    host.bmc().start().unwrap();
    assert_eq!(ipmitool(host, &["chassis", "power", "status"]), "Chassis Power is on");
    host.power_off().unwrap();
    assert_eq!(ipmitool(host, &["chassis", "power", "status"]), "Chassis Power is off");
}

#[tokio::test(flavor = "multi_thread")]
async fn libvirt_with_qemu_passes_the_conformance_suite() {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig(&directory, 1);
    let host = rig.host(1);
    host.power_on().unwrap();
    host.wait_for_libvirt().unwrap();
    let subject = Subject { instance: guest().instance, definition: rig.guest_definition(&guest()) };
    conformance::all(&Libvirt::new(&host.libvirt_uri()), &subject).await;
}

/// Moves the guest while it runs, as an operator does.
fn migrate(from: &Host, to: &Host, guest: &GuestSpec) {
    let target = format!("tcp://{}", to.address());
    let arguments = ["migrate", "--live", "--unsafe", &guest.name, &to.libvirt_uri(), &target];
    let output = Command::new("virsh").args(["-c", &from.libvirt_uri()]).args(arguments).output().unwrap();
    assert!(output.status.success(), "virsh {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn listed(hypervisor: &Libvirt) -> Vec<InstanceState> {
    match hypervisor.inventory(PATIENCE).await {
        Outcome::Observed(domains) => domains.into_iter().map(|domain| domain.state).collect(),
        Outcome::Refused(refusal) => panic!("the inventory was refused: {refusal}"),
        Outcome::Unknown(doubt) => panic!("the inventory is unknown: {doubt}"),
    }
}

/// Waits until a host lists this.
async fn lists(hypervisor: &Libvirt, states: &[InstanceState]) {
    let began = Instant::now();
    while listed(hypervisor).await != states {
        assert!(began.elapsed() < PATIENCE, "{states:?} was not listed, but {:?}", listed(hypervisor).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_live_migration_took_away_is_told_from_what_was_shut_down() {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig(&directory, 2);
    let (first, second, guest) = (rig.host(1), rig.host(2), guest());
    for host in rig.hosts() {
        host.power_on().unwrap();
        host.wait_for_libvirt().unwrap();
    }
    let (source, target) = (Libvirt::new(&first.libvirt_uri()), Libvirt::new(&second.libvirt_uri()));
    assert_eq!((listed(&source).await, listed(&target).await), (vec![], vec![]));

    // A transient domain leaves nothing behind.
    start(&rig, first, &guest);
    lists(&source, &[InstanceState::Running]).await;
    migrate(first, second, &guest);
    lists(&target, &[InstanceState::Running]).await;
    lists(&source, &[InstanceState::Migrated]).await;
    assert_eq!(listed(&Libvirt::new(&first.libvirt_uri())).await, [], "who was not there when it left knows nothing");
    migrate(second, first, &guest);
    lists(&source, &[InstanceState::Running]).await;
    lists(&target, &[InstanceState::Migrated]).await;
    virsh(first, &["destroy", &guest.name]);
    lists(&source, &[]).await;

    // A persistent one leaves its definition, which says so itself.
    let file = first.directory().join("start.xml");
    virsh(first, &["define", file.to_str().unwrap()]);
    virsh(first, &["start", &guest.name]);
    lists(&source, &[InstanceState::Running]).await;
    migrate(first, second, &guest);
    lists(&source, &[InstanceState::Migrated]).await;
    assert_eq!(listed(&Libvirt::new(&first.libvirt_uri())).await, [InstanceState::Migrated]);
    virsh(second, &["destroy", &guest.name]);
    lists(&target, &[]).await;
    virsh(first, &["start", &guest.name]);
    virsh(first, &["destroy", &guest.name]);
    lists(&source, &[InstanceState::Stopped]).await;
}

#[test]
fn a_dropped_rig_leaves_nothing_but_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig(&directory, 1);
    rig.host(1).power_on().unwrap();
    let subnet = rig.bridge_address().to_string();
    let text = rig.directory().display().to_string();
    drop(rig);
    let addresses = Command::new("ip").args(["-4", "-oneline", "address"]).output().unwrap();
    assert!(!String::from_utf8(addresses.stdout).unwrap().contains(&subnet));
    assert_eq!(processes_naming(&text), Vec::<String>::new());
}

#[test]
fn a_killed_process_is_cleaned_up_after_by_its_supervisor() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = killed_with_a_rig(&directory);
    child.kill().unwrap();
    child.wait().unwrap();
    let text = directory.path().display().to_string();
    wait("the clean-up", || processes_naming(&text).is_empty() && links_of(&directory).is_empty());
}

#[test]
fn what_a_killed_supervisor_left_is_cleaned_up_by_the_next_rig() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = killed_with_a_rig(&directory);
    let text = directory.path().display().to_string();
    let supervisor = pid_of(&format!("supervisor {text}"));
    let killed = Command::new("kill").args(["-KILL", &supervisor]).status().unwrap();
    assert!(killed.success());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_ne!(processes_naming(&text), Vec::<String>::new());
    assert_ne!(links_of(&directory), Vec::<String>::new());
    let next = tempfile::tempdir().unwrap();
    drop(rig(&next, 1));
    assert_eq!(processes_naming(&text), Vec::<String>::new());
    assert_eq!(links_of(&directory), Vec::<String>::new());
}

/// Not a test of its own: what the tests above kill.
#[test]
fn a_process_with_a_rig_waits_to_be_killed() {
    let Ok(directory) = std::env::var(KILL_ME) else { return };
    let options = Options { hosts: 1, bmc_user: "admin".into(), bmc_password: Secret::new("s3cret") };
    let rig = Rig::create(directory.as_ref(), &options).unwrap();
    rig.host(1).power_on().unwrap();
    fs::write(rig.directory().join("ready"), "").unwrap();
    std::thread::park_timeout(PATIENCE);
}

/// Names the directory of the rig that a process should make and be killed with.
const KILL_ME: &str = "QUORUMFENCE_TEST_RIG";

fn killed_with_a_rig(directory: &tempfile::TempDir) -> std::process::Child {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_with_a_rig_waits_to_be_killed"])
        .env(KILL_ME, directory.path())
        .spawn()
        .unwrap();
    wait("the rig of the process to kill", || directory.path().join("ready").exists());
    child
}

fn links_of(directory: &tempfile::TempDir) -> Vec<String> {
    let text = fs::read_to_string(directory.path().join("rig.env")).unwrap();
    let bridge = text.lines().find_map(|line| line.strip_prefix("BRIDGE=")).unwrap();
    let links = fs::read_dir("/sys/class/net").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    links.filter(|link| link.starts_with(bridge)).collect()
}

fn pid_of(text: &str) -> String {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let named = |process: &std::path::PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
    };
    let process = processes.filter(|process| process.join("cmdline").exists()).find(named).unwrap();
    process.file_name().unwrap().to_str().unwrap().into()
}

#[test]
fn a_power_cut_sends_no_farewell_to_open_connections() {
    let directory = tempfile::tempdir().unwrap();
    let rig = rig(&directory, 1);
    let host = rig.host(1);
    host.power_on().unwrap();
    host.wait_for_libvirt().unwrap();
    let mut peer = host.inside("busybox").unwrap();
    let peer = peer.args(["nc", "-l", "-p", "9000"]).stdin(std::process::Stdio::piped());
    let mut peer = peer.spawn().unwrap();
    let mut connection = None;
    wait("a connection to the host", || {
        connection = std::net::TcpStream::connect((host.address(), 9000)).ok();
        connection.is_some()
    });
    let mut connection = connection.unwrap();
    host.power_off().unwrap();
    peer.wait().unwrap();
    host.power_on().unwrap();
    host.wait_for_libvirt().unwrap();
    connection.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let silence = std::io::Read::read(&mut connection, &mut [0]).unwrap_err();
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
}
