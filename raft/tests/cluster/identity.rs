use std::time::Duration;

use quorumfence_machine::ControllerId;
use quorumfence_proto::pb;
use quorumfence_raft::{
    CallError, Expect, Grpc, HandleError, Lane, Options, Request, Response, Transport, controller_in_certificate,
};

use crate::certificates::Authority;
use crate::group::{Group, create, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

fn vote_of(id: u64) -> Request {
    let vote = pb::RaftVote { term: 1000, node_id: id, committed: false };
    Request::PreVote(pb::VoteRequest { vote: Some(vote), last_log_id: None, leadership_transfer: false })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_refuses_a_server_with_another_nodes_certificate() {
    let mut group = Group::empty(Options::fast());
    let wrong = group.authority.issue(&["controller-2"]);
    group.start_as(1, Expect::New, &wrong).await;
    let client = group.client("controller-3");
    let outcome = client.call(&group.peer(1), Lane::Log, vote_of(3), PATIENCE).await;
    let Err(CallError::Unreachable(why)) = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("certificate"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_refuses_a_client_that_speaks_for_another_node() {
    let group = Group::found(1).await;
    let client = group.client("controller-3");
    let outcome = client.call(&group.peer(1), Lane::Log, vote_of(2), PATIENCE).await;
    let why = HandleError::Impostor { certificate: ControllerId(3), claimed: ControllerId(2) };
    assert_eq!(outcome, Err(CallError::Refused(why.to_string())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_refuses_a_controller_that_is_no_member() {
    let group = Group::found(1).await;
    let client = group.client("controller-3");
    let refused = Err(CallError::Refused(HandleError::NotAMember(ControllerId(3)).to_string()));
    assert_eq!(client.call(&group.peer(1), Lane::Log, vote_of(3), PATIENCE).await, refused);
    let read = Request::ReadIndex(pb::ReadIndexRequest {});
    assert_eq!(client.call(&group.peer(1), Lane::Log, read, PATIENCE).await, refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_newer_entries_may_have_admitted_is_heard() {
    let group = Group::found(1).await;
    let client = group.client("controller-3");
    let ahead = pb::LogId { term: 1000, node_id: 0, index: 1000 };
    let vote = pb::RaftVote { term: 1000, node_id: 3, committed: false };
    let request = pb::VoteRequest { vote: Some(vote), last_log_id: Some(ahead), leadership_transfer: false };
    let outcome = client.call(&group.peer(1), Lane::Log, Request::PreVote(request), PATIENCE).await;
    let Ok(Response::PreVote(reply)) = outcome else { panic!("{outcome:?}") };
    // Heard, and still refused: the leader's own lease is in force.
    assert!(!reply.granted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_leader_of_an_old_term_is_not_heard() {
    let group = Group::found(1).await;
    let vote = pb::RaftVote { term: 0, node_id: 3, committed: true };
    let request = pb::AppendEntriesRequest { vote: Some(vote), ..pb::AppendEntriesRequest::default() };
    let refused = Err(CallError::Refused(HandleError::NotAMember(ControllerId(3)).to_string()));
    let client = group.client("controller-3");
    assert_eq!(client.call(&group.peer(1), Lane::Log, Request::AppendEntries(request), PATIENCE).await, refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_refuses_agents_and_operators() {
    let group = Group::found(1).await;
    for name in ["host1.agent", "alice.operator"] {
        let client = group.client(name);
        let outcome = client.call(&group.peer(1), Lane::Log, vote_of(1), PATIENCE).await;
        assert_eq!(outcome, Err(CallError::Refused("only controllers may call this".into())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_worth_nothing() {
    let group = Group::found(1).await;
    let stranger = Authority::new().issue(&["controller-1"]);
    let credentials = quorumfence_raft::Credentials { ca_pem: group.authority.ca_pem(), ..stranger };
    let client = Grpc::new(&credentials).unwrap();
    let outcome = client.call(&group.peer(1), Lane::Log, vote_of(1), PATIENCE).await;
    assert!(matches!(outcome, Err(CallError::Unreachable(_) | CallError::Broken(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_may_ask_on_every_lane() {
    let group = Group::found(2).await;
    let leader = group.agreed_leader().await;
    let other = 3 - leader;
    let client = group.client(&format!("controller-{other}"));
    for lane in [Lane::Log, Lane::Heartbeat, Lane::Snapshot] {
        let read = Request::ReadIndex(pb::ReadIndexRequest {});
        let outcome = client.call(&group.peer(leader), lane, read, PATIENCE).await;
        assert!(matches!(outcome, Ok(Response::ReadIndex(_))), "{outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_nodes_certificate_cannot_take_part() {
    let mut group = Group::found(3).await;
    let (leader, victim) = group.leader_and_follower().await;
    let third = 6 - leader - victim;
    group.stop(victim).await;
    let wrong = group.authority.issue(&[&format!("controller-{third}")]);
    group.start_as(victim, Expect::Existing, &wrong).await;
    let at = create(group.leader().await, "a").await;
    // Meanwhile the leader tries again and again to reach it.
    for number in 10..40 {
        create(group.leader().await, &format!("s{number}")).await;
    }
    assert!(*group.replica(victim).applied().borrow() < at);
    group.stop(victim).await;
    group.start(victim, Expect::Existing).await;
    eventually("the node with its own certificate catches up", || async {
        *group.replica(victim).applied().borrow() >= at
    })
    .await;
}

#[test]
fn a_certificate_speaks_for_one_controller_only() {
    let authority = Authority::new();
    let name = |names: &[&str]| controller_in_certificate(&authority.der(names));
    assert_eq!(name(&["controller-7"]), Some(ControllerId(7)));
    assert_eq!(name(&["controller-7", "localhost"]), Some(ControllerId(7)));
    assert_eq!(name(&["controller-7", "controller-8"]), None);
    assert_eq!(name(&["controller-x"]), None);
    assert_eq!(name(&["host1.agent"]), None);
    assert_eq!(controller_in_certificate(b"no certificate"), None);
}
