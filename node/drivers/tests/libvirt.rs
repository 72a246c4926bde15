//! The libvirt driver against libvirt's own test driver, and against a libvirtd of this test's own that it stops.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use quorumfence_drivers::hypervisor::conformance::{self, Subject};
use quorumfence_drivers::hypervisor::libvirt::{CALLS_MAX, Libvirt};
use quorumfence_drivers::order::{Hypervisor, StartOrder};
use quorumfence_machine::{Doubt, InstanceId, InstanceState, LogIndex, Outcome, Refusal, Token};
use tokio::time::Instant;
use virt::connect::Connect;

const PATIENCE: Duration = Duration::from_secs(30);
const UUID: &str = "6b8b4567-327b-43c6-8643-3c9869b39f2d";

fn subject() -> Subject {
    let definition = format!(
        "<domain type='test'><name>subject</name><uuid>{UUID}</uuid>\
         <metadata><qf:vm xmlns:qf='https://quorumfence.dev/xmlns/vm/1' enabled='true' priority='900'/></metadata>\
         <memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>"
    );
    Subject { instance: UUID.parse().unwrap(), definition }
}

fn start_order() -> StartOrder {
    StartOrder { instance: subject().instance, definition: subject().definition, token: Token(LogIndex(3)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_driver_passes_the_conformance_suite() {
    conformance::all(&Libvirt::new("test:///default"), &subject()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_replaces_a_persistent_definition_by_a_transient_domain() {
    let hypervisor = Libvirt::new("test:///default");
    assert!(matches!(hypervisor.inventory(PATIENCE).await, Outcome::Observed(_)));
    let operator = Connect::open(Some("test:///default")).unwrap();
    operator.define_domain_xml(&subject().definition).unwrap();
    assert_eq!(hypervisor.start(start_order(), PATIENCE).await, Outcome::Observed(InstanceState::Running));
    let domain = operator.lookup_domain_by_uuid_string(UUID).unwrap();
    assert_eq!((domain.is_active(), domain.is_persistent()), (Ok(true), Ok(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_persistent_instance_is_made_transient_by_a_start_and_keeps_running() {
    let operator = Connect::open(Some("test:///default")).unwrap();
    operator.define_domain_xml(&subject().definition).unwrap().create().unwrap();
    let id = operator.lookup_domain_by_uuid_string(UUID).unwrap().id();
    let hypervisor = Libvirt::new("test:///default");
    assert_eq!(hypervisor.start(start_order(), PATIENCE).await, Outcome::Observed(InstanceState::Running));
    let domain = operator.lookup_domain_by_uuid_string(UUID).unwrap();
    assert_eq!((domain.id(), domain.is_persistent()), (id, Ok(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_an_operator_paused_is_there() {
    let operator = Connect::open(Some("test:///default")).unwrap();
    operator.create_domain_xml(&subject().definition, 0).unwrap().suspend().unwrap();
    let hypervisor = Libvirt::new("test:///default");
    assert_eq!(hypervisor.start(start_order(), PATIENCE).await, Outcome::Observed(InstanceState::Running));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_definition_is_no_word_on_an_instance_that_runs() {
    let operator = Connect::open(Some("test:///default")).unwrap();
    operator.create_domain_xml(&subject().definition, 0).unwrap();
    let hypervisor = Libvirt::new("test:///default");
    let order = StartOrder { definition: "<domain".into(), ..start_order() };
    assert_eq!(hypervisor.start(order, PATIENCE).await, Outcome::Observed(InstanceState::Running));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_the_hypervisor_cannot_carry_out_is_refused() {
    let hypervisor = Libvirt::new("test:///default");
    let operator = Connect::open(Some("test:///default")).unwrap();
    let other = subject().definition.replace(UUID, "6b8b4567-327b-43c6-8643-3c9869b39f2e");
    operator.create_domain_xml(&other, 0).unwrap();
    assert_eq!(hypervisor.start(start_order(), PATIENCE).await, Outcome::Refused(Refusal::Hypervisor));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_removes_a_persistent_definition() {
    let operator = Connect::open(Some("test:///default")).unwrap();
    operator.define_domain_xml(&subject().definition).unwrap().create().unwrap();
    let hypervisor = Libvirt::new("test:///default");
    assert_eq!(hypervisor.stop(subject().instance, PATIENCE).await, Outcome::Observed(InstanceState::Stopped));
    assert!(operator.lookup_domain_by_uuid_string(UUID).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_tag_wakes_the_agent_and_is_listed() {
    let operator = Connect::open(Some("test:///default")).unwrap();
    let domain = operator.create_domain_xml(&subject().definition, 0).unwrap();
    let hypervisor = Libvirt::new("test:///default");
    assert_eq!(tags(&hypervisor).await, [(subject().instance, true, 900)]);
    let metadata = "<vm enabled='true' priority='12'/>";
    let namespace = "https://quorumfence.dev/xmlns/vm/1";
    let kind = i32::try_from(virt::sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap();
    domain.set_metadata(kind, Some(metadata), Some("qf"), Some(namespace), 0).unwrap();
    tokio::time::timeout(PATIENCE, hypervisor.changed()).await.unwrap();
    assert_eq!(tags(&hypervisor).await, [(subject().instance, true, 12)]);
}

async fn tags(hypervisor: &Libvirt) -> Vec<(InstanceId, bool, u16)> {
    let Outcome::Observed(domains) = hypervisor.inventory(PATIENCE).await else { panic!("no inventory") };
    let tagged = domains.into_iter().filter(|domain| domain.ha_enabled);
    tagged.map(|domain| (domain.instance, domain.ha_enabled, domain.priority)).collect()
}

#[tokio::test]
async fn a_libvirt_that_is_not_there_is_unreachable() {
    let hypervisor = Libvirt::new("qemu+unix:///system?socket=/nonexistent/libvirt-sock");
    assert_eq!(hypervisor.inventory(PATIENCE).await, Outcome::Unknown(Doubt::Unreachable));
    assert_eq!(hypervisor.start(start_order(), PATIENCE).await, Outcome::Unknown(Doubt::Unreachable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_libvirtd_of_its_own_passes_the_conformance_suite() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    conformance::all(&Libvirt::new(&daemon.uri), &subject()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_may_not_log_in_is_unknown_and_a_look_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::with_auth(directory.path(), "sasl");
    let hypervisor = Libvirt::new(&daemon.uri);
    assert_eq!(hypervisor.start(start_order(), PATIENCE).await, Outcome::Unknown(Doubt::Unreachable));
    assert_eq!(hypervisor.stop(subject().instance, PATIENCE).await, Outcome::Unknown(Doubt::Unreachable));
    assert_eq!(hypervisor.inventory(PATIENCE).await, Outcome::Refused(Refusal::Credentials));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_account_may_not_give_is_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let reader = Libvirt::new(&daemon.uri.replace("libvirt-sock", "libvirt-sock-ro"));
    assert_eq!(reader.start(start_order(), PATIENCE).await, Outcome::Unknown(Doubt::Internal));

    let writer = Libvirt::new(&daemon.uri);
    assert_eq!(writer.start(start_order(), PATIENCE).await, Outcome::Observed(InstanceState::Running));
    assert_eq!(reader.stop(subject().instance, PATIENCE).await, Outcome::Unknown(Doubt::Internal));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_libvirtd_is_given_up_at_the_deadline_and_used_again_when_it_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let hypervisor = Libvirt::new(&daemon.uri);
    assert_eq!(hypervisor.start(start_order(), PATIENCE).await, Outcome::Observed(InstanceState::Running));

    daemon.signal("STOP");
    let deadline = Duration::from_millis(300);
    for call in 0..CALLS_MAX {
        let began = Instant::now();
        assert_eq!(hypervisor.inventory(deadline).await, Outcome::Unknown(Doubt::Timeout), "call {call}");
        assert!(began.elapsed() < deadline * 3, "call {call} took {:?}", began.elapsed());
    }
    assert_eq!(hypervisor.inventory(deadline).await, Outcome::Unknown(Doubt::Busy));

    daemon.signal("CONT");
    let began = Instant::now();
    let seen = loop {
        let seen = hypervisor.stop(subject().instance, PATIENCE).await;
        if matches!(seen, Outcome::Observed(_)) || began.elapsed() > PATIENCE {
            break seen;
        }
    };
    assert_eq!(seen, Outcome::Observed(InstanceState::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_given_up_while_connecting_is_never_sent() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    daemon.signal("STOP");
    let hypervisor = Libvirt::new(&daemon.uri);
    assert_eq!(hypervisor.start(start_order(), Duration::from_millis(300)).await, Outcome::Unknown(Doubt::Timeout));
    daemon.signal("CONT");
    for _ in 0..20 {
        let Outcome::Observed(domains) = hypervisor.inventory(PATIENCE).await else { panic!("no inventory") };
        assert_eq!(domains.into_iter().find(|domain| domain.instance == subject().instance), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_libvirtd_wakes_the_agent_and_its_successor_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(directory.path());
    let hypervisor = Libvirt::new(&daemon.uri);
    assert!(matches!(hypervisor.inventory(PATIENCE).await, Outcome::Observed(_)));
    drop(daemon);
    tokio::time::timeout(PATIENCE, hypervisor.changed()).await.unwrap();
    assert_eq!(hypervisor.inventory(PATIENCE).await, Outcome::Unknown(Doubt::Unreachable));
    let successor = Daemon::start(directory.path());
    assert!(matches!(hypervisor.inventory(PATIENCE).await, Outcome::Observed(_)));
    drop(successor);
}

/// A libvirtd of this test's own, in a mount namespace of its own, that serves libvirt's test driver.
struct Daemon {
    process: Child,
    uri: String,
}

impl Daemon {
    fn start(directory: &Path) -> Self {
        Self::with_auth(directory, "none")
    }

    fn with_auth(directory: &Path, auth: &str) -> Self {
        let text = directory.to_str().unwrap();
        let script = format!(
            "set -e; cd {text}; mkdir -p run lib etc log cache; mount --bind run /run; mount --bind lib /var/lib/libvirt; \
             mount --bind etc /etc/libvirt; mount --bind log /var/log/libvirt; mount --bind cache /var/cache/libvirt; \
             rm -rf /run/libvirt /run/libvirtd.pid; printf 'auth_unix_rw=\"{auth}\"\\n' > /etc/libvirt/libvirtd.conf; exec libvirtd"
        );
        let process = Command::new("unshare")
            .args(["--mount", "--net", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare(1) and libvirtd(8) are installed and this test runs as root");
        let socket = directory.join("run/libvirt/libvirt-sock");
        let daemon = Self { process, uri: format!("test+unix:///default?socket={}", socket.display()) };
        let began = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(began.elapsed() < PATIENCE, "libvirtd did not open {}", socket.display());
            std::thread::yield_now();
        }
        daemon
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
