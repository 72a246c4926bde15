use quorumfence_raft::{Expect, Options};

use crate::group::{Group, create, eventually, segments};

/// Snapshots come early and hardly any log stays behind them.
fn eager() -> Options {
    Options { snapshot_after: 20, log_kept: 2, ..Options::fast() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lagged_gets_a_snapshot_and_then_the_log() {
    let mut group = Group::found_with(3, eager()).await;
    let (_, behind) = group.leader_and_follower().await;
    let had = group.replica(behind).status().last_log.unwrap();
    group.stop(behind).await;
    let mut names = Vec::new();
    for number in 100..160 {
        names.push(format!("s{number}"));
        create(group.leader().await, &format!("s{number}")).await;
    }
    // The lagging node cannot get by with the log: what it needs next is gone everywhere.
    for running in group.running.values() {
        eventually("the log was purged", || async { running.replica.status().purged > Some(had) }).await;
    }
    group.start(behind, Expect::Existing).await;
    let at = create(group.leader().await, "t").await;
    names.push("t".into());
    group.digest_at(at).await;
    assert_eq!(segments(group.replica(behind)), names);
    assert!(group.replica(behind).status().snapshot > Some(had));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restarts_from_an_installed_snapshot() {
    let mut group = Group::found_with(1, eager()).await;
    for number in 100..150 {
        create(group.replica(1), &format!("s{number}")).await;
    }
    eventually("the log was purged", || async { group.replica(1).status().purged.is_some() }).await;
    group.join(2).await;
    let at = create(group.leader().await, "t").await;
    let before = group.digest_at(at).await;
    group.stop(2).await;
    group.start(2, Expect::Existing).await;
    assert_eq!(group.replica(2).read(|state| state.digest()), before);
    group.digest_at(at).await;
}
