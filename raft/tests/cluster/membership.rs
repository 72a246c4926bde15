use std::sync::atomic::Ordering;

use quorumfence_machine::ControllerId;
use quorumfence_raft::{MembershipError, Options, Peer};

use crate::election::impatient;
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
    let lag = leader.status().last_log.unwrap().0 + 1;
    assert_eq!(leader.promote(ControllerId(9)).await, Err(MembershipError::NotCaughtUp { id: ControllerId(9), lag }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_known_as_soon_as_it_was_added() {
    let group = Group::found_with(1, Options::fast()).await;
    let leader = group.leader().await;
    for id in (10..60).map(ControllerId) {
        let absent = Peer { id, address: "127.0.0.1:1".into() };
        let added = leader.add_learner(absent.clone()).await.unwrap();
        assert_eq!(leader.add_learner(absent).await, Ok(added), "twice changes nothing");
        let promoted = leader.promote(id).await;
        assert!(matches!(promoted, Err(MembershipError::NotCaughtUp { .. })), "{promoted:?}");
        leader.remove(id).await.unwrap();
        assert_eq!(leader.promote(id).await, Err(MembershipError::UnknownController(id)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_leaves_by_way_of_being_a_learner() {
    let group = Group::found(3).await;
    let leader = group.leader().await;
    let me = leader.id();
    let other = ControllerId(if me.0 == 3 { 2 } else { 3 });
    eventually("both others have answered", || async { leader.answering().len() == 2 }).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_is_not_taken_where_no_majority_would_answer() {
    let mut group = Group::found(3).await;
    let lead = group.agreed_leader().await;
    let [silent, other] = [1, 2, 3].into_iter().filter(|id| *id != lead).collect::<Vec<_>>()[..] else { panic!() };
    group.stop(silent).await;
    let refused = MembershipError::LosesQuorum { id: ControllerId(other), silent: [ControllerId(silent)].into() };
    let words = format!(
        "without controller-{other} no majority of the voters would answer, since controller-{silent} is silent; bring \
         it back, or take its vote first"
    );
    assert_eq!(refused.to_string(), words);
    eventually("its silence is noticed", || async { group.replica(lead).answering() == [ControllerId(other)].into() })
        .await;
    assert_eq!(group.replica(lead).demote(ControllerId(other)).await, Err(refused));
    group.replica(lead).demote(ControllerId(silent)).await.unwrap();
    assert_eq!(
        group.replica(lead).promote(ControllerId(silent)).await,
        Err(MembershipError::Silent(ControllerId(silent)))
    );
    create(group.replica(lead), "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_may_be_taken_back_are_not_told_as_applied() {
    let group = Group::found_with(2, impatient()).await;
    let (leader, follower) = group.leader_and_follower().await;
    let cut = &group.running[&leader].faults.appends_lost_to;
    let leader = group.replica(leader);
    eventually("the last change of members is applied", || async {
        leader.applied_members().at == leader.status().members_at
    })
    .await;
    let before = leader.applied_members();
    assert_eq!(before.peers, [group.peer(1), group.peer(2)]);
    eventually("the last change of members is over", || async { !leader.status().changing }).await;

    cut.store(follower, Ordering::SeqCst);
    let absent = Peer { id: ControllerId(9), address: "127.0.0.1:1".into() };
    let added = leader.add_learner(absent.clone()).await;
    assert!(added.is_err(), "no quorum answered: {added:?}");
    assert_eq!(leader.status().learners, std::slice::from_ref(&absent), "its log has the entry");
    assert!(leader.status().changing, "and it is not committed");
    assert_eq!(leader.applied_members(), before);

    cut.store(0, Ordering::SeqCst);
    eventually("the change is committed after all", || async { leader.applied_members().at > before.at }).await;
    let after = leader.applied_members();
    assert_eq!(after.at, leader.status().members_at);
    assert_eq!(after.peers, [group.peer(1), group.peer(2), absent]);
    eventually("it shows that the change is over", || async { !leader.status().changing }).await;
}
