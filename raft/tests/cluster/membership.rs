use quorumfence_machine::ControllerId;
use quorumfence_raft::{MembershipError, Options, Peer};

use crate::group::{Group, create, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machine_learns_the_voters_from_the_log() {
    let group = Group::found(3).await;
    let at = create(group.leader().await, "a").await;
    group.digest_at(at).await;
    for id in 1..=3 {
        let voters = group.replica(id).read(|state| state.cluster().unwrap().voters.clone());
        assert_eq!(voters, [1, 2, 3].map(ControllerId).into());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adding_and_promoting_twice_changes_nothing() {
    let group = Group::found(2).await;
    let leader = group.leader().await;
    let before = leader.status().voters;
    leader.add_learner(group.peer(2)).await.unwrap();
    leader.promote(ControllerId(2)).await.unwrap();
    assert_eq!(leader.status().voters, before);
    let elsewhere = Peer { id: ControllerId(2), address: "127.0.0.1:1".into() };
    let refused = MembershipError::OtherAddress { id: ControllerId(2), address: group.peer(2).address };
    assert_eq!(leader.add_learner(elsewhere).await, Err(refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_that_never_answered_is_not_promoted() {
    let group = Group::found_with(1, Options::fast()).await;
    let leader = group.leader().await;
    assert_eq!(leader.promote(ControllerId(9)).await, Err(MembershipError::UnknownController(ControllerId(9))));
    for number in 100..170 {
        create(leader, &format!("s{number}")).await;
    }
    let absent = Peer { id: ControllerId(9), address: "127.0.0.1:1".into() };
    leader.add_learner(absent).await.unwrap();
    eventually("the learner is known to lag", || async { leader.status().followers.contains_key(&ControllerId(9)) })
        .await;
    let lag = leader.status().followers[&ControllerId(9)].lag;
    assert_eq!(leader.promote(ControllerId(9)).await, Err(MembershipError::NotCaughtUp { id: ControllerId(9), lag }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_leaves_by_way_of_being_a_learner() {
    let group = Group::found(3).await;
    let leader = group.leader().await;
    let me = leader.id();
    let other = ControllerId(if me.0 == 3 { 2 } else { 3 });
    assert_eq!(leader.demote(me).await, Err(MembershipError::Leads(me)));
    assert_eq!(leader.demote(ControllerId(9)).await, Err(MembershipError::UnknownController(ControllerId(9))));
    assert_eq!(leader.remove(other).await, Err(MembershipError::StillVotes(other)));
    let before = leader.status().members_at;
    let demoted = leader.demote(other).await.unwrap();
    assert!(demoted > before, "{demoted} {before}");
    assert_eq!(leader.demote(other).await, Ok(leader.status().members_at), "twice changes nothing");
    let status = leader.status();
    assert!(status.voters.iter().all(|voter| voter.id != other) && status.voters.len() == 2);
    assert_eq!(status.learners.iter().map(|peer| peer.id).collect::<Vec<_>>(), [other]);
    leader.remove(other).await.unwrap();
    assert_eq!(leader.remove(other).await, Ok(leader.status().members_at), "twice changes nothing");
    assert!(leader.status().learners.is_empty());
    create(leader, "after").await;
}
