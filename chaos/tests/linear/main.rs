//! Concurrent clients of three real controllers that are killed and frozen: every history is decided and linearizable.
//! Needs the product's binary beside this package's.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "figures for the one who runs it")]

mod lab;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorumfence_chaos::chance::Chance;
use quorumfence_chaos::linear::clients::{Cluster, Plan, Shim, Workload, run};
use quorumfence_chaos::linear::history::{Answer, History, Object};
use quorumfence_chaos::linear::{Report, judge};
use rustix::process::Signal;
use tokio::time::sleep;

use self::lab::Lab;

const HOSTS: [&str; 2] = ["host1", "host2"];

/// Steps of the search for each object.
const BUDGET: u64 = 3_000_000;

/// How long clients work under faults.
const TIME: Duration = Duration::from_secs(28);

fn plan(seed: u64, time: Duration) -> Plan {
    let hosts = HOSTS.map(String::from).to_vec();
    Plan { seed, clients: 10, time, workload: Workload::Full { hosts }, shim: None }
}

/// One test at a time: three controllers and ten clients fill a machine.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn served(lab: &Lab, plan: &Plan) -> (History, Report) {
    let cluster = Cluster::open(&lab.context()).unwrap();
    let history = run(&cluster, plan).await.unwrap();
    let report = judge(&history, BUDGET);
    (history, report)
}

/// Kills and freezes controllers, sometimes two of three, until the time is over; then all run. Returns what it did.
async fn break_controllers(lab: &mut Lab, seed: u64, time: Duration) -> BTreeMap<&'static str, u32> {
    let mut chance = Chance::new(seed, "nemesis");
    let mut done = BTreeMap::new();
    let mut spent = Duration::ZERO;
    while spent < time {
        let quiet = Duration::from_millis(chance.between(300, 1800));
        let fault = Duration::from_millis(chance.between(200, 4000));
        sleep(quiet).await;
        let first = usize::try_from(chance.between(1, 3)).unwrap();
        let victims = if chance.percent(25) { vec![first, first % 3 + 1] } else { vec![first] };
        let kills = chance.percent(50);
        for victim in &victims {
            *done.entry(if kills { "SIGKILL" } else { "SIGSTOP" }).or_default() += 1;
            if kills { lab.kill(*victim) } else { lab.signal(*victim, Signal::STOP) }
        }
        sleep(fault).await;
        for victim in victims {
            if kills { lab.start(victim) } else { lab.signal(victim, Signal::CONT) }
        }
        spent += quiet + fault;
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_controllers_that_are_killed_and_frozen_see_one_cluster() {
    let _turn = TURN.lock().await;
    let mut lab = Lab::with_three_controllers(&HOSTS);
    let plan = plan(1, TIME);
    let cluster = Cluster::open(&lab.context()).unwrap();
    let broken = Duration::from_secs(TIME.as_secs() - 4);
    let (history, faults) = tokio::join!(run(&cluster, &plan), break_controllers(&mut lab, plan.seed, broken));
    let history = history.unwrap();
    let report = judge(&history, BUDGET);
    println!("{faults:?}; {report}");
    if !report.holds() {
        let path = std::env::temp_dir().join(format!("quorumfence-clients-{}.jsonl", std::process::id()));
        history.write(std::io::BufWriter::new(std::fs::File::create(&path).unwrap())).unwrap();
        panic!("{}: {report}", path.display());
    }
    assert!(report.calls > 500 && report.retried > 20 && report.objects > 10, "{report}");
    assert!(report.unknown * 5 < report.calls, "too much is unknown to say anything: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_shown_old_values_is_noticed() {
    let _turn = TURN.lock().await;
    let lab = Lab::with_three_controllers(&HOSTS);
    let first: Mutex<BTreeMap<Object, Answer>> = Mutex::default();
    let reads = Mutex::new(0_u32);
    let old = move |object: &Object, answer: Answer| -> Answer {
        if !matches!(answer, Answer::Value(Some(_))) || object.0 != "settings" {
            return answer;
        }
        let mut first = first.lock().unwrap();
        let first = first.entry(object.clone()).or_insert_with(|| answer.clone());
        let mut reads = reads.lock().unwrap();
        *reads += 1;
        if reads.is_multiple_of(10) { first.clone() } else { answer }
    };
    let mut plan = plan(2, Duration::from_secs(5));
    let (_, fair) = served(&lab, &plan).await;
    assert!(fair.holds() && fair.calls > 50, "{fair}");
    plan.shim = Some(Shim(Arc::new(old)));
    let (_, report) = served(&lab, &plan).await;
    println!("{report}");
    assert_eq!((report.broken.len(), report.undecided.len()), (1, 0), "{report}");
    assert!(report.broken[0].starts_with("settings: no order of its operations explains every answer"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_somebody_else_is_asked_for_nothing_that_hurts() {
    let _turn = TURN.lock().await;
    let lab = Lab::with_three_controllers(&[]);
    let (context, history) = (lab.context(), lab.path("history.jsonl"));
    let against = |address: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quorumfence-chaos"));
        command.args(["run", "--against", address, "--context", context.to_str().unwrap(), "--time", "5s"]);
        command.args(["--tokens", "20", "--history", history.to_str().unwrap()]).output().unwrap()
    };
    let before = effects(&lab).await;
    let ran = against(&lab.addresses[1]);
    let said = String::from_utf8(ran.stdout).unwrap() + &String::from_utf8_lossy(&ran.stderr);
    println!("{said}");
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(said.contains("cluster lab, controllers controller-1, controller-2, controller-3"), "{said}");
    assert!(said.ends_with("0 broken, 0 undecided\n"), "{said}");
    let caused = effects(&lab).await.split_off(before.len());
    assert!((5..=20).contains(&caused.len()), "{caused:?}");
    assert!(caused.iter().all(|event| event.starts_with("join token ") && event.ends_with(" created")), "{caused:?}");
    let read = History::read(std::io::BufReader::new(std::fs::File::open(&history).unwrap())).unwrap();
    assert!(judge(&read, BUDGET).holds());

    let ran = against("127.0.0.1:1");
    assert_eq!(ran.status.code(), Some(2));
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.starts_with("error: 127.0.0.1:1 is no controller of cluster lab"), "{said}");
}

/// Returns what the cluster's log tells, from its beginning.
async fn effects(lab: &Lab) -> Vec<String> {
    Cluster::open(&lab.context()).unwrap().events().await.unwrap()
}
