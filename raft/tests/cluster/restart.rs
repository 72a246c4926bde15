use quorumfence_raft::{Expect, Fatal, Folder, Identity, OpenError, Options, Replica, Rocks, Setup, SystemClock};

use crate::group::{Group, Lossy, Production, create, segments};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarting_each_node_in_turn_keeps_every_acknowledged_change() {
    let mut group = Group::found(3).await;
    let mut expected = Vec::new();
    for id in 1..=3 {
        let leader = group.agreed_leader().await;
        expected.push(format!("before-{id}"));
        create(group.replica(leader), &format!("before-{id}")).await;
        group.stop(id).await;
        let leader = group.agreed_leader().await;
        expected.push(format!("without-{id}"));
        let at = create(group.replica(leader), &format!("without-{id}")).await;
        group.start(id, Expect::Existing).await;
        group.digest_at(at).await;
    }
    expected.sort();
    for id in 1..=3 {
        assert_eq!(segments(group.replica(id)), expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarting_all_nodes_at_once_keeps_every_acknowledged_change() {
    let mut group = Group::found(3).await;
    let leader = group.agreed_leader().await;
    let names: Vec<String> = (10..30).map(|number| format!("s{number}")).collect();
    let mut last = None;
    for name in &names {
        last = Some(create(group.replica(leader), name).await);
    }
    let before = group.digest_at(last.unwrap()).await;
    for id in 1..=3 {
        group.stop(id).await;
    }
    for id in 1..=3 {
        group.start(id, Expect::Existing).await;
        // What was durable is there before anybody is elected.
        assert_eq!(group.replica(id).read(|state| state.digest()), before);
    }
    let leader = group.agreed_leader().await;
    assert_eq!(segments(group.replica(leader)), names);
    let at = create(group.replica(leader), "t").await;
    group.digest_at(at).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_leader_is_elected_again_in_a_later_term() {
    let mut group = Group::found(1).await;
    let before = group.replica(1).leadership().borrow().lead_term.unwrap();
    group.stop(1).await;
    group.start(1, Expect::Existing).await;
    assert_eq!(group.agreed_leader().await, 1);
    assert!(group.replica(1).leadership().borrow().lead_term > Some(before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_of_a_known_node_is_refused() {
    let group = Group::empty(Options::fast());
    let setup = Setup::<Production> {
        identity: Identity { cluster: "test".into(), node: 1 },
        expect: Expect::Existing,
        options: Options::fast(),
        kv: Rocks::open(&group.path(1).join("db")).unwrap(),
        files: Folder::open(&group.path(1).join("snapshots")).unwrap(),
        transport: Lossy::faithful(group.client("controller-1")),
        clock: SystemClock,
        fatal: Fatal::new(|error| panic!("the disk failed: {error}")),
        witness: None,
    };
    let outcome = Replica::open(setup).await;
    assert!(matches!(outcome, Err(OpenError::Store(_))), "{outcome:?}");
}
