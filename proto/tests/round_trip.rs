//! Whatever the machine writes, it reads back unchanged.

use std::collections::BTreeSet;
use std::fmt::Debug;

use prost::Message;
use quorumfence_machine::{
    Action, AgentFacts, AgentReport, Answer, Holder, Holding, InstanceState, Order, Outcome, Power, Record, RecordKey,
    Rejected, Reply, Stray,
};
use quorumfence_proto::convert::{
    self, decode_command, decode_record, encode_command, encode_record, record_key_bytes,
};
use quorumfence_proto::pb;
use quorumfence_proto::status::{self, Detail};

use crate::samples::{self, BOOT, INSTANCE, MACHINE, TOKEN, without_sample};

/// Sends a value through its message's bytes and compares what comes back.
fn check<M, P>(value: M)
where
    M: Clone + PartialEq + Debug + TryFrom<P, Error = convert::Error>,
    P: From<M> + Message + Default,
{
    let bytes = P::from(value.clone()).encode_to_vec();
    let message = P::decode(bytes.as_slice()).expect("its own bytes");
    assert_eq!(M::try_from(message), Ok(value));
}

#[test]
fn every_variant_has_a_sample() {
    let missing = [
        without_sample(samples::CHANGE_NAMES, &samples::changes()),
        without_sample(samples::EVENT_NAMES, &samples::events()),
        without_sample(samples::RECORD_NAMES, &samples::records()),
        without_sample(samples::REJECTED_NAMES, &samples::rejections()),
        without_sample(samples::REASON_NAMES, &samples::reasons()),
    ];
    assert_eq!(missing.concat(), Vec::<String>::new());
}

#[test]
fn every_command_is_read_back_unchanged() {
    for (name, command) in samples::commands() {
        assert_eq!(decode_command(&encode_command(&command)), Ok(command), "{name}");
    }
}

#[test]
fn every_record_is_read_back_unchanged() {
    for (name, record) in samples::records() {
        assert_eq!(decode_record(&encode_record(&record)), Ok(record), "{name}");
    }
}

#[test]
fn every_event_is_read_back_unchanged() {
    for (_, event) in samples::events() {
        check::<_, pb::Event>(event);
    }
}

#[test]
fn every_answer_is_read_back_unchanged() {
    for (_, reply) in samples::replies() {
        check::<_, pb::Reply>(reply);
        check::<Result<Reply, Rejected>, pb::Answered>(Ok(reply));
    }
    for (_, rejected) in samples::rejections() {
        check::<_, pb::Rejected>(rejected.clone());
        check::<Result<Reply, Rejected>, pb::Answered>(Err(rejected));
    }
    for (_, reason) in samples::reasons() {
        check::<_, pb::Reason>(reason);
    }
}

#[test]
fn every_outcome_is_read_back_unchanged() {
    samples::outcomes(()).into_iter().for_each(check::<_, pb::DoneOutcome>);
    samples::outcomes(Power::On).into_iter().for_each(check::<_, pb::PowerOutcome>);
    check::<_, pb::PowerOutcome>(Outcome::Observed(Power::Off));
}

#[test]
fn what_agents_say_and_hear_is_read_back_unchanged() {
    check::<_, pb::AgentReport>(AgentReport {
        boot: BOOT,
        system_uuid: Some(MACHINE),
        memory_mib: 196_608,
        instances: samples::instance_reports(),
        cannot_refuse: true,
        listed: quorumfence_machine::Millis(9),
        as_of: Some(TOKEN.0),
    });
    check::<_, pb::AgentFacts>(AgentFacts {
        boot: BOOT,
        system_uuid: None,
        memory_mib: 196_608,
        boot_at: TOKEN.0,
        running: BTreeSet::from([INSTANCE]),
        moving: BTreeSet::from([INSTANCE]),
        brought: BTreeSet::from([INSTANCE]),
        ran_before: BTreeSet::from([INSTANCE]),
        came_before: BTreeSet::from([INSTANCE]),
        cannot_refuse: true,
        listed: quorumfence_machine::Millis(9),
        as_of: Some(TOKEN.0),
        list_at: TOKEN.0,
        heard_again_at: TOKEN.0,
        earlier: vec![samples::OTHER_BOOT, BOOT],
    });
    for action in [Action::Start { definition: "<domain/>".into() }, Action::Stop] {
        check::<_, pb::Order>(Order { token: TOKEN, instance: INSTANCE, boot: BOOT, action });
    }
    for outcome in samples::outcomes(InstanceState::Running) {
        check::<_, pb::OrderAnswer>(Answer { token: TOKEN, instance: INSTANCE, outcome });
    }
    for boot in [Some(BOOT), None] {
        let holder = Holder { host: samples::host(), token: TOKEN, boot };
        check::<_, pb::InstanceHolder>(holder.clone());
        let strays = vec![Stray { host: samples::host(), boot: BOOT }];
        check::<_, pb::HolderReply>(Holding { holder: Some(holder), strays });
    }
}

#[test]
fn every_rejection_survives_as_the_detail_of_a_status() {
    for (name, rejected) in samples::rejections() {
        let status = status::rejected(&rejected);
        assert_eq!(status.message(), rejected.to_string(), "{name}");
        assert_eq!(status::detail(&status), Some(Detail::Rejected(rejected)), "{name}");
    }
}

#[test]
fn the_leader_survives_as_the_detail_of_a_status() {
    for leader in [Some(pb::Peer { id: 3, address: "192.0.2.3:7654".into() }), None] {
        let status = status::not_leader(leader.clone());
        assert_eq!(status.code(), tonic::Code::Unavailable);
        assert_eq!(status::detail(&status), Some(Detail::NotLeader { leader }));
    }
    assert_eq!(status::detail(&tonic::Status::unavailable("connection refused")), None);
}

#[test]
fn key_bytes_sort_as_the_keys_do() {
    let name = |text: &str| text.parse().expect("a name");
    let mut keys: Vec<RecordKey> =
        samples::records().iter().map(|(_, record): &(String, Record)| record.key()).collect();
    keys.extend([0, 1, 255, 256, 65_536, u64::MAX].map(RecordKey::Event));
    keys.extend(["a", "a-1", "a1", "ab", "b"].map(|text| RecordKey::Host(name(text))));
    keys.sort();
    keys.dedup();
    let bytes: Vec<(u8, Vec<u8>)> = keys.iter().map(record_key_bytes).collect();
    assert!(bytes.is_sorted());
    assert_eq!(bytes.iter().collect::<BTreeSet<_>>().len(), keys.len());
}

#[test]
fn secrets_do_not_stand_in_debug_output() {
    let secret = || "hunter2".to_string();
    let printed = [
        format!("{:?}", pb::ClearDevice { password: secret(), ..pb::ClearDevice::default() }),
        format!("{:?}", pb::JoinRequest { secret: secret(), ..pb::JoinRequest::default() }),
        format!("{:?}", pb::TokenCreateReply { secret: secret(), ..pb::TokenCreateReply::default() }),
        format!("{:?}", pb::ControllerSecrets { id: 2, cluster_key: secret().into_bytes(), ca_key_pem: secret() }),
    ];
    let key_as_bytes = format!("{:?}", secret().into_bytes());
    for text in printed {
        assert!(!text.contains("hunter2") && !text.contains(&key_as_bytes), "{text}");
    }
}
