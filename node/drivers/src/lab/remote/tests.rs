use quorumfence_machine::{BootId, LogIndex, SystemUuid};

use super::super::{HypervisorMode, Pace};
use super::*;
use crate::hypervisor::conformance::{self, Subject};

const DEADLINE: Duration = Duration::from_secs(2);
const VM: InstanceId = InstanceId([5; 16]);

fn definition() -> String {
    format!("<domain type='qemu'><name>vm5</name><uuid>{VM}</uuid><memory unit='MiB'>64</memory></domain>")
}

fn start_order() -> StartOrder {
    StartOrder { instance: VM, definition: definition(), token: Token(LogIndex(9)) }
}

/// A laboratory with one host, whose hypervisor answers at a socket.
struct Served {
    laboratory: Laboratory,
    host: HostId,
    place: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

impl Served {
    fn open() -> Self {
        let place = tempfile::tempdir().unwrap();
        let host: HostId = "host1".parse().unwrap();
        let laboratory = Laboratory::open(Pace::default());
        laboratory.add_host(host.clone(), SystemUuid([1; 16]), BootId([1; 16]));
        let socket = UnixListener::bind(place.path().join("socket")).unwrap();
        let mut tasks = JoinSet::new();
        let (serving, of, running) = (laboratory.clone(), host.clone(), laboratory.clone());
        tasks.spawn(async move { serve(serving, of, socket).await.unwrap() });
        tasks.spawn(async move { running.run().await });
        Self { laboratory, host, place, _tasks: tasks }
    }

    fn hypervisor(&self) -> RemoteHypervisor {
        RemoteHypervisor::open(&self.place.path().join("socket")).unwrap()
    }
}

#[tokio::test]
async fn a_hypervisor_behind_a_socket_does_what_every_driver_must() {
    let served = Served::open();
    let (hypervisor, subject) = (served.hypervisor(), Subject { instance: VM, definition: definition() });
    conformance::stopping_what_is_not_there_is_stopped(&hypervisor, &subject).await;
    conformance::a_second_start_changes_nothing(&hypervisor, &subject).await;
    conformance::a_stop_leaves_nothing_that_could_start(&hypervisor, &subject).await;
    conformance::a_definition_of_another_instance_is_refused(&hypervisor, &subject).await;
    conformance::starts_and_stops_wake_the_agent(&hypervisor, &subject).await;
    conformance::no_time_at_all_is_unknown(&hypervisor, &subject).await;
}

#[tokio::test]
async fn what_a_socket_orders_is_a_fact_of_the_laboratory() {
    let served = Served::open();
    let hypervisor = served.hypervisor();
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Observed(InstanceState::Running));
    assert_eq!(served.laboratory.runs_on(VM), vec![served.host.clone()]);
    let local = served.laboratory.hypervisor(&served.host);
    assert_eq!(hypervisor.inventory(DEADLINE).await, local.inventory(DEADLINE).await);
    served.laboratory.set_hypervisor(&served.host, HypervisorMode::Hangs);
    let short = Duration::from_millis(50);
    assert_eq!(hypervisor.stop(VM, short).await, Outcome::Unknown(Doubt::Timeout));
}

#[tokio::test]
async fn each_change_is_told_once_to_who_watches() {
    let served = Served::open();
    let hypervisor = served.hypervisor();
    assert!(timeout(Duration::from_millis(50), hypervisor.changed()).await.is_err(), "nothing changed");
    assert_eq!(hypervisor.start(start_order(), DEADLINE).await, Outcome::Observed(InstanceState::Running));
    timeout(DEADLINE, hypervisor.changed()).await.unwrap();
    assert!(timeout(Duration::from_millis(50), hypervisor.changed()).await.is_err(), "it was told");
}

#[tokio::test]
async fn without_a_laboratory_nothing_opens_and_nothing_is_known() {
    let served = Served::open();
    let hypervisor = served.hypervisor();
    drop(served);
    assert_eq!(hypervisor.inventory(DEADLINE).await, Outcome::Unknown(Doubt::Unreachable));
    let error = RemoteHypervisor::open(Path::new("nosuch.socket")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
