use std::sync::atomic::Ordering;

use quorumfence_raft::ReadError;

use crate::election::impatient;
use crate::group::{Group, create, has_segment};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_linearizable_read_on_any_node_sees_what_was_acknowledged_on_another() {
    let group = Group::found(3).await;
    for round in 0..20_u64 {
        let writer = round % 3 + 1;
        let name = format!("r{round}");
        let at = create(group.replica(writer), &name).await;
        for reader in 1..=3 {
            let seen = group.replica(reader).linearizable().await.unwrap();
            assert!(seen >= at, "read {seen} on {reader}, acknowledged {at}");
            assert!(has_segment(group.replica(reader), &name));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lacks_acknowledged_entries_does_not_answer_a_linearizable_read() {
    let group = Group::found_with(3, impatient()).await;
    let (leader, follower) = group.leader_and_follower().await;
    let cut = &group.running[&leader].faults.appends_lost_to;
    cut.store(follower, Ordering::SeqCst);
    let at = create(group.replica(leader), "a").await;
    assert_eq!(group.replica(follower).linearizable().await, Err(ReadError::TimedOut));
    assert!(!has_segment(group.replica(follower), "a"));
    cut.store(0, Ordering::SeqCst);
    group.digest_at(at).await;
    assert!(group.replica(follower).linearizable().await.unwrap() >= at);
    assert!(has_segment(group.replica(follower), "a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_linearizably_without_a_quorum() {
    let mut group = Group::found_with(3, impatient()).await;
    let leader = group.agreed_leader().await;
    let others: Vec<u64> = group.running.keys().copied().filter(|id| *id != leader).collect();
    for id in others {
        group.stop(id).await;
    }
    let outcome = group.replica(leader).linearizable().await;
    assert!(matches!(outcome, Err(ReadError::TimedOut | ReadError::NoLeader(_))), "{outcome:?}");
}
