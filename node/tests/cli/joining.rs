//! Who is let in, and who is not.

use std::time::Duration;

use quorumfence_machine::{JoinTokenId, Rejected};
use quorumfence_node::cluster::directory::AgentDirectory;
use quorumfence_node::cluster::identity::PendingIdentity;
use quorumfence_node::cluster::operator::Context;
use quorumfence_node::cluster::pin::fetch_authority;
use quorumfence_node::cluster::token::JoinToken;
use quorumfence_node::wiring::dial::connect;
use quorumfence_proto::pb::join_client::JoinClient;
use quorumfence_proto::{pb, status};
use serde_json::{Value, json};
use tonic::Status;

use super::lab::{Lab, Ran, failed, free_address, write};

fn token(lab: &Lab, arguments: &[&str]) -> String {
    lab.must(&[&["token", "create"], arguments].concat()).trim().to_string()
}

/// The public half: `QF1<hash>::<id>.<secret>`.
fn id(token: &str) -> &str {
    token.rsplit("::").next().and_then(|rest| rest.split('.').next()).expect("a token")
}

fn join_controller(lab: &Lab, token: &str, known: &str, data_dir: &str) -> Ran {
    let address = free_address();
    lab.run(&[
        "controller",
        "join",
        "--token",
        token,
        "--controller",
        known,
        "--listen",
        &address,
        "--advertise",
        &address,
        "--data-dir",
        data_dir,
        "--profile",
        "fast",
    ])
}

fn join_agent(lab: &Lab, token: &str, known: &str, host: &str, data_dir: &str) -> Ran {
    lab.run(&["agent", "join", "--token", token, "--controller", known, "--host", host, "--data-dir", data_dir])
}

fn not_valid(token: &str) -> Ran {
    let expected = format!(
        "error: join token {} is not valid: unknown, expired, used up, or for another role; create one with 'quorumfence \
         token create'\n",
        id(token)
    );
    failed(1, &expected)
}

#[test]
fn three_controllers_form_a_quorum_that_survives_its_leader() {
    let mut lab = Lab::empty();
    let known = lab.found();
    let leader = lab.start_controller("c1");
    lab.eventually(&["status"], |ran| ran.code == 0);
    for (number, data_dir) in [(2, "c2"), (3, "c3")] {
        let token = token(&lab, &["--role", "controller"]);
        let joined = join_controller(&lab, &token, &known, data_dir);
        let expected = format!(
            "This machine is controller-{number} of cluster lab.\n\n\
             1. Start it:\n     quorumfence controller run --config {data_dir}/controller.toml\n\
             2. Let it vote, from an operator's machine:\n     \
             quorumfence member add controller-{number} --promote --wait\n"
        );
        assert_eq!(joined, Ran { code: 0, out: expected, err: String::new() });
        lab.start_controller(data_dir);
        lab.must(&["member", "add", &format!("controller-{number}"), "--promote", "--wait"]);
    }
    let members = lab.items(&["member", "list"]);
    let roles: Vec<Value> = members.as_array().expect("a list").iter().map(|member| member["role"].clone()).collect();
    assert_eq!(roles, ["voter", "voter", "voter"]);

    lab.must(&["segment", "create", "rack-1"]);
    lab.kill(leader);
    lab.eventually(&["member", "list"], |ran| ran.code == 0);
    assert_eq!(lab.items(&["segment", "list"])[0]["name"], "rack-1");
    lab.must(&["segment", "create", "rack-2"]);
}

#[test]
fn a_learner_is_listed_as_one() {
    let (mut lab, known) = Lab::with_one_controller();
    let token = token(&lab, &["--role", "controller"]);
    assert_eq!(join_controller(&lab, &token, &known, "c2").code, 0);
    assert_eq!(lab.items(&["member", "list"])[1]["role"], "outside");
    lab.start_controller("c2");
    lab.must(&["member", "add", "2"]);
    assert_eq!(lab.items(&["member", "list"])[1]["role"], "learner");
    let unknown = "error: controller-7 has not joined; let it in with 'quorumfence token create --role controller'\n";
    assert_eq!(lab.run(&["member", "add", "7"]), failed(3, unknown));
}

#[test]
fn a_token_that_is_used_up_or_expired_or_unknown_or_for_another_role_gets_one_answer() {
    let (lab, known) = Lab::with_one_controller();
    let once = token(&lab, &["--role", "agent"]);
    assert_eq!(join_agent(&lab, &once, &known, "host1", "a1").code, 0);
    assert_eq!(join_agent(&lab, &once, &known, "host2", "a2"), not_valid(&once));

    let short = token(&lab, &["--role", "agent", "--ttl", "1ms"]);
    // The cluster's clock moves with each change, so that a token cannot outlive its time by more than one of them.
    lab.must(&["segment", "create", "later"]);
    assert_eq!(join_agent(&lab, &short, &known, "host2", "a2"), not_valid(&short));

    let agents = token(&lab, &["--role", "agent"]);
    assert_eq!(join_controller(&lab, &agents, &known, "c2"), not_valid(&agents));

    let last = agents.chars().last().expect("it is not empty");
    let forged = format!("{}{}", &agents[..agents.len() - 1], if last == '0' { '1' } else { '0' });
    assert_eq!(join_agent(&lab, &forged, &known, "host2", "a2"), not_valid(&forged));
    assert!(!lab.path("a2").exists(), "nothing was written");
}

#[test]
fn a_token_that_is_cut_is_refused_before_anything_is_sent() {
    let lab = Lab::empty();
    let expected = "error: a join token begins with QF1; copy the whole line that 'quorumfence token create' printed\n";
    assert_eq!(join_agent(&lab, "abc", "127.0.0.1:1", "host1", "a1"), failed(2, expected));
}

#[test]
fn a_token_is_not_shown_to_another_cluster() {
    let (ours, _) = Lab::with_one_controller();
    let (theirs, impostor) = Lab::with_one_controller();
    let token = token(&ours, &["--role", "agent"]);
    let theirs_token = self::token(&theirs, &["--role", "agent"]);
    let authority = |token: &str| token["QF1".len()..].split("::").next().expect("a token").to_string();
    let expected = format!(
        "error: {impostor} belongs to the authority {}, but the join token names {}; this is another cluster or somebody \
         between you and it, and the token's secret was not sent; compare the address and the token with 'quorumfence \
         token create' on a controller that you trust\n",
        authority(&theirs_token),
        authority(&token),
    );
    assert_eq!(join_agent(&ours, &token, &impostor, "host1", "a1"), failed(1, &expected));
}

#[test]
fn a_host_has_one_agent() {
    let (lab, known) = Lab::with_one_controller();
    let token = token(&lab, &["--role", "agent", "--uses", "2"]);
    assert_eq!(join_agent(&lab, &token, &known, "host1", "a1").code, 0);
    let expected = "error: host host1 has an agent already; two agents with one name would fence each other's host. Choose \
                    another name\n";
    assert_eq!(join_agent(&lab, &token, &known, "host1", "a2"), failed(7, expected));
    let again = "error: a1 holds an agent already, so no token was used; start it with 'quorumfence agent run'\n";
    assert_eq!(join_agent(&lab, &token, &known, "host2", "a1"), failed(7, again));
}

#[test]
fn an_agent_that_claims_another_hosts_name_does_not_start() {
    let (lab, known) = Lab::with_one_controller();
    let token = token(&lab, &["--role", "agent"]);
    assert_eq!(join_agent(&lab, &token, &known, "host1", "a1").code, 0);
    let config = lab.path("a1/agent.toml");
    let text = std::fs::read_to_string(&config).expect("the configuration was written");
    write(&config, &text.replace("host = \"host1\"", "host = \"host2\""));
    let expected = "error: the configuration says host host2, but this agent joined as host1; correct 'host', or join again \
                    in another directory\n";
    assert_eq!(lab.run(&["agent", "run", "--config", "a1/agent.toml"]), failed(1, expected));
}

#[test]
fn a_simulated_hypervisor_is_refused_outside_of_a_laboratory_and_without_one() {
    let (lab, known) = Lab::with_one_controller();
    let token = token(&lab, &["--role", "agent"]);
    assert_eq!(join_agent(&lab, &token, &known, "host1", "a1").code, 0);
    let config = lab.path("a1/agent.toml");
    let text = std::fs::read_to_string(&config).expect("it was written");
    let simulated = text.replace("qemu:///system", "laboratory:nosuch");
    write(&config, &simulated);
    let expected = "error: a1/agent.toml: hypervisor is 'laboratory:nosuch', a simulated one; name a real one, or add \
                    'laboratory = true' where nothing real runs\n";
    assert_eq!(lab.run(&["agent", "run", "--config", "a1/agent.toml"]), failed(2, expected));
    write(&config, &simulated.replace("laboratory = false", "laboratory = true"));
    let expected = "error: no laboratory listens at nosuch, and this agent has no other hypervisor; start the laboratory \
                    first\n  because: No such file or directory (os error 2)\n";
    let ran = lab.run(&["agent", "run", "--config", "a1/agent.toml"]);
    assert_eq!((ran.code, ran.err.ends_with(expected)), (1, true), "{ran:?}");
}

#[test]
fn an_agents_certificate_is_no_operators() {
    let (lab, known) = Lab::with_one_controller();
    let token = token(&lab, &["--role", "agent"]);
    assert_eq!(join_agent(&lab, &token, &known, "host1", "a1").code, 0);
    let agent = AgentDirectory::open(&lab.path("a1")).expect("it joined").identity().expect("an identity");
    let operator = Context::load(&lab.path("operator.toml")).expect("a context");
    let thief = Context { identity: agent, ..operator };
    thief.create(&lab.path("thief.toml")).expect("it can be written");
    let expected = "error: this is for operators, and the certificate is host1.agent's\n";
    for command in [&["status"][..], &["arm", "--reason", "x"], &["token", "create", "--role", "agent"]] {
        let ran = lab.run(&[command, &["--context", "thief.toml"]].concat());
        assert_eq!(ran, failed(1, expected), "{command:?}");
    }
}

#[test]
fn an_agent_that_joined_is_listed_as_new() {
    let (mut lab, known) = Lab::with_one_controller();
    let token = token(&lab, &["--role", "agent"]);
    assert_eq!(join_agent(&lab, &token, &known, "host1", "a1").code, 0);
    assert_eq!(lab.items(&["host", "list"])[0]["attending"], json!(false));
    lab.start(&["agent", "run", "--config", "a1/agent.toml"], "a1");
    lab.eventually(&["-o", "json", "host", "list"], |ran| ran.out.contains("\"attending\": true"));
    let host = &lab.items(&["host", "list"])[0];
    assert_eq!((&host["name"], &host["state"], &host["segment"]), (&json!("host1"), &json!("new"), &json!(null)));
    assert_eq!((&host["laboratory"], &host["cannotRefuse"]), (&json!(false), &json!(false)));

    let second = lab.run(&["agent", "run", "--config", "a1/agent.toml"]);
    assert_eq!((second.code, second.err.contains("another agent runs in ")), (1, true), "{second:?}");
}

#[test]
fn an_agent_that_says_it_is_a_laboratorys_is_not_let_in() {
    let (mut lab, known) = Lab::with_one_controller();
    let token = token(&lab, &["--role", "agent"]);
    assert_eq!(join_agent(&lab, &token, &known, "host1", "a1").code, 0);
    let config = lab.path("a1/agent.toml");
    let text = std::fs::read_to_string(&config).expect("it was written");
    write(&config, &text.replace("laboratory = false", "laboratory = true"));
    lab.start(&["agent", "run", "--config", "a1/agent.toml"], "a1");
    let said = |wanted: &str| std::fs::read_to_string(lab.path("a1.log")).is_ok_and(|log| log.contains(wanted));
    lab.eventually(&["host", "list"], |_| said("this controller is no laboratory's, so the host is not heard"));
    assert!(said("holds this agent at any step"), "it warned at its start");
    assert_eq!(lab.items(&["host", "list"])[0]["heartbeatAgeMs"], json!(null));
}

#[test]
fn a_token_is_not_used_up_for_a_configuration_that_cannot_be_written() {
    let (lab, known) = Lab::with_one_controller();
    let token = token(&lab, &["--role", "agent"]);
    let join = |config: &str| {
        let known = ["agent", "join", "--token", &token, "--controller", &known, "--host", "host1", "--data-dir", "a1"];
        lab.run(&[&known[..], &["--config", config]].concat())
    };
    let expected = "error: absent is no directory, so no configuration can be written there; make it first\n";
    assert_eq!(join("absent/agent.toml"), failed(2, expected));
    let expected = "error: operator.toml exists already, so nothing was written; name another file with --config, or move \
                    this one away\n";
    assert_eq!(join("operator.toml"), failed(7, expected));
    assert_eq!(join("agent.toml").code, 0);
}

async fn send(known: &str, token: &JoinToken, request: pb::JoinRequest) -> Result<pb::JoinReply, Status> {
    let limit = Duration::from_secs(20);
    let pinned = fetch_authority(known, token.authority, limit).await.expect("a controller");
    let channel = connect(known, pinned.client_tls(), limit).await?;
    JoinClient::new(channel).join(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_join_that_is_sent_again_gets_its_first_answer_although_its_token_is_used_up_and_gone() {
    let (lab, known) = Lab::with_one_controller();
    let token: JoinToken = token(&lab, &["--role", "agent"]).parse().expect("a token");
    let (key, other_key) = (PendingIdentity::generate().expect("a key"), PendingIdentity::generate().expect("a key"));
    let request = pb::JoinRequest {
        request: vec![7; 16],
        token: token.id.to_string(),
        secret: token.expose_secret().into(),
        csr_pem: key.request_pem().into(),
        joiner: Some(pb::Joiner { kind: Some(pb::joiner::Kind::Agent("host1".into())) }),
    };
    let first = send(&known, &token, request.clone()).await.expect("it is let in");
    // Whoever creates a token sweeps out those that are used up.
    lab.must(&["token", "create", "--role", "agent"]);
    let again = send(&known, &token, request.clone()).await.expect("it was let in");
    assert_eq!((again.peers, again.cluster), (first.peers, first.cluster));
    assert!(again.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----"));

    let refused =
        status::Detail::Rejected(Rejected::JoinToken(token.id.to_string().parse::<JoinTokenId>().expect("an id")));
    let strangers = [
        pb::JoinRequest { secret: "0".repeat(request.secret.len()), ..request.clone() },
        pb::JoinRequest { csr_pem: other_key.request_pem().into(), ..request.clone() },
        pb::JoinRequest { request: vec![8; 16], ..request.clone() },
    ];
    for stranger in strangers {
        let answer = send(&known, &token, stranger).await.expect_err("it has no token");
        assert_eq!(status::detail(&answer).as_ref(), Some(&refused));
    }
    let events = lab.items(&["event", "list"]);
    let joined = events.as_array().expect("a list").iter().filter(|event| event["message"] == "agent of host1 joined");
    assert_eq!(joined.count(), 1);
}
