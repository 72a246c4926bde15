use std::sync::atomic::Ordering;

use quorumfence_machine::{Change, ControllerId, LogIndex, Millis, Rejected, Reply, Segment};
use quorumfence_raft::{MembershipError, Options, ProposeError, Term};

use crate::group::{Group, create, eventually, operator, segments};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_elect_one_leader_and_agree_on_the_state() {
    let group = Group::found(3).await;
    let leader = group.agreed_leader().await;
    let at = create(group.replica(leader), "a").await;
    group.digest_at(at).await;
    for running in group.running.values() {
        assert_eq!(segments(&running.replica), ["a"]);
        let status = running.replica.status();
        let voters: Vec<u64> = status.voters.iter().map(|voter| voter.id.0).collect();
        assert_eq!((voters, status.learners.len()), (vec![1, 2, 3], 0));
        assert_eq!(status.leads, status.id == ControllerId(leader));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_elect_a_leader_when_the_leader_stops() {
    let mut group = Group::found(3).await;
    let first = group.agreed_leader().await;
    let term = group.replica(first).leadership().borrow().lead_term.unwrap();
    create(group.replica(first), "before").await;
    group.stop(first).await;
    let second = group.agreed_leader().await;
    assert_ne!(second, first);
    assert!(group.replica(second).leadership().borrow().lead_term > Some(term));
    let at = create(group.replica(second), "after").await;
    group.digest_at(at).await;
    assert_eq!(segments(group.replica(second)), ["after", "before"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_bear_the_loss_of_two() {
    let mut group = Group::found(5).await;
    let leader = group.agreed_leader().await;
    create(group.replica(leader), "five").await;
    group.stop(leader).await;
    let next = group.agreed_leader().await;
    group.stop(next).await;
    let last = group.agreed_leader().await;
    let at = create(group.replica(last), "three").await;
    group.digest_at(at).await;
    assert_eq!(segments(group.replica(last)), ["five", "three"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_quorum_steps_back_and_its_proposals_are_never_acknowledged() {
    let mut group = Group::found_with(3, impatient()).await;
    let leader = group.agreed_leader().await;
    let others: Vec<u64> = group.running.keys().copied().filter(|id| *id != leader).collect();
    for id in others {
        group.stop(id).await;
    }
    eventually("the lonely leader stops claiming to lead", || async {
        group.replica(leader).leadership().borrow().lead_term.is_none()
    })
    .await;
    let outcome = group.replica(leader).propose(operator(), None, Change::Arm { reason: "alone".into() }).await;
    assert!(matches!(outcome, Err(ProposeError::NotLeader(_))), "{outcome:?}");
    assert_eq!(group.replica(leader).cluster_time(), None);
}

/// For tests whose calls must end without an answer.
pub(crate) fn impatient() -> Options {
    Options { call_deadline: Millis(2000), ..Options::fast() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_without_a_request_id_is_unknown_and_the_change_may_stand() {
    let group = Group::found(3).await;
    let (_, follower) = group.leader_and_follower().await;
    group.running[&follower].faults.answers_to_lose.store(1, Ordering::SeqCst);
    let change = Change::SegmentCreate { segment: Segment { id: "a".parse().unwrap(), ..Segment::default() } };
    let outcome = group.replica(follower).propose(operator(), None, change).await;
    assert!(matches!(outcome, Err(ProposeError::Unknown(_))), "{outcome:?}");
    group.replica(follower).linearizable().await.unwrap();
    assert_eq!(segments(group.replica(follower)), ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_with_a_request_id_is_asked_for_again_and_the_change_is_done_once() {
    let group = Group::found(3).await;
    let (_, follower) = group.leader_and_follower().await;
    group.running[&follower].faults.answers_to_lose.store(2, Ordering::SeqCst);
    // Done twice, the second would be rejected: the segment exists.
    create(group.replica(follower), "a").await;
    assert_eq!(group.running[&follower].faults.answers_to_lose.load(Ordering::SeqCst), 0);
    assert_eq!(segments(group.replica(follower)), ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_forwards_proposals_to_the_leader() {
    let group = Group::found(3).await;
    let (_, follower) = group.leader_and_follower().await;
    let change = Change::Arm { reason: "tested".into() };
    let (at, reply) = group.replica(follower).propose(operator(), None, change).await.unwrap();
    assert_eq!(reply, Reply::Done);
    group.digest_at(at).await;
    let armed = group.replica(follower).read(|state| state.cluster().unwrap().armed_reason.clone());
    assert_eq!(armed, "tested");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejection_of_the_machine_reaches_a_follower() {
    let group = Group::found(3).await;
    let (_, follower) = group.leader_and_follower().await;
    let change = Change::HostMaintenance { host: "nowhere".parse().unwrap(), reason: None };
    let outcome = group.replica(follower).propose(operator(), None, change).await;
    let rejected = Rejected::UnknownHost("nowhere".parse().unwrap());
    assert_eq!(outcome, Err(ProposeError::Rejected(rejected)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leadership_is_handed_over() {
    let group = Group::found(3).await;
    let (leader, target) = group.leader_and_follower().await;
    group.replica(leader).hand_over(Some(ControllerId(target))).await.unwrap();
    assert_eq!(group.agreed_leader().await, target);
    let late = group.replica(leader).hand_over(None).await;
    assert_eq!(late, Err(MembershipError::NotLeader(Some(group.peer(target)))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_clock_goes_on_under_the_next_leader() {
    let mut group = Group::found(3).await;
    let clock = |group: &Group, id: u64| group.replica(id).read(|state| state.cluster().unwrap().clock);
    let first = group.agreed_leader().await;
    let at = create(group.replica(first), "a").await;
    group.digest_at(at).await;
    let before = clock(&group, first);
    group.stop(first).await;
    let second = group.agreed_leader().await;
    create(group.replica(second), "b").await;
    assert!(clock(&group, second) >= before);
    assert!(group.replica(second).leadership().borrow().lead_term > Some(Term(0)));
    assert!(group.replica(second).cluster_time() >= Some(clock(&group, second)));
    assert!(at > LogIndex(0));
}
