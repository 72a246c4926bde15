//! What does not fit is refused with the path to it, and never replaced by a default.

use prost::Message;
use quorumfence_machine::{Command, Host, HostId, Outcome, Power, Record, Settings};
use quorumfence_proto::convert::{self, Error, Problem, decode_command, decode_record};
use quorumfence_proto::pb;

use crate::samples;

fn error(field: &str, problem: Problem) -> Error {
    Error { field: field.into(), problem }
}

fn votes() -> pb::Command {
    let sample = samples::commands().into_iter().find(|(name, _)| name == "votes");
    sample.expect("a sample of votes").1.into()
}

/// Lets a test break the second vote of a command.
fn with_broken_vote(change: impl FnOnce(&mut pb::Vote)) -> Result<Command, Error> {
    let mut command = votes();
    match command.change.as_mut().and_then(|change| change.kind.as_mut()) {
        Some(pb::change::Kind::Votes(votes)) => change(&mut votes.votes[1]),
        other => panic!("not votes: {other:?}"),
    }
    command.try_into()
}

#[test]
fn nothing_at_all_is_not_a_command_and_not_a_record() {
    assert_eq!(decode_command(&[]), Err(error("by", Problem::Missing)));
    assert_eq!(decode_record(&[]), Err(error("kind", Problem::Missing)));
}

#[test]
fn command_without_a_change_is_refused() {
    let command = pb::Command { change: None, ..votes() };
    assert_eq!(decode_command(&command.encode_to_vec()), Err(error("change", Problem::Missing)));
    let command = pb::Command { change: Some(pb::Change { kind: None }), ..votes() };
    assert_eq!(decode_command(&command.encode_to_vec()), Err(error("change.kind", Problem::Missing)));
}

#[test]
fn request_of_fifteen_bytes_is_refused() {
    let command = pb::Command { request: Some(vec![1; 15]), ..votes() };
    assert_eq!(Command::try_from(command), Err(error("request", Problem::Length { expected: 16, actual: 15 })));
}

#[test]
fn path_leads_to_the_broken_field_of_the_second_vote() {
    let missing = with_broken_vote(|vote| vote.verdict = None);
    assert_eq!(missing, Err(error("change.votes.votes[1].verdict", Problem::Missing)));
    assert_eq!(missing.expect_err("refused").to_string(), "field 'change.votes.votes[1].verdict': it is missing");

    let power =
        with_broken_vote(|vote| vote.evidence = Some(pb::Evidence { power: Some(9), ..pb::Evidence::default() }));
    assert_eq!(power, Err(error("change.votes.votes[1].evidence.power", Problem::UnknownNumber(9))));

    let host = with_broken_vote(|vote| vote.host = "No Host".into());
    let problem = Problem::Name("No Host".parse::<HostId>().expect_err("not a name"));
    assert_eq!(host, Err(error("change.votes.votes[1].host", problem)));
}

#[test]
fn number_zero_of_an_enumeration_is_refused() {
    let message = pb::PowerOutcome { kind: Some(pb::power_outcome::Kind::Observed(0)) };
    assert_eq!(Outcome::<Power>::try_from(message), Err(error("observed", Problem::UnknownNumber(0))));
}

#[test]
fn level_over_a_byte_is_refused() {
    let message = pb::Permit { level: 256, ..pb::Permit::default() };
    let permit = quorumfence_machine::Permit::try_from(message);
    assert_eq!(permit, Err(error("level", Problem::TooLarge { max: 255, actual: 256 })));
}

#[test]
fn set_that_is_not_sorted_is_refused() {
    let settings = pb::Settings::from(samples::settings());
    let twice = pb::Settings { proofs: vec![1, 1], ..settings.clone() };
    assert_eq!(Settings::try_from(twice), Err(error("proofs", Problem::Unsorted)));
    let unknown = pb::Settings { proofs: vec![1, 77], ..settings };
    assert_eq!(Settings::try_from(unknown), Err(error("proofs[1]", Problem::UnknownNumber(77))));
}

#[test]
fn host_with_two_votes_of_one_controller_is_refused() {
    let host = samples::records().into_iter().find_map(|(_, record)| match record {
        Record::Host(host) => Some(pb::Host::from(host)),
        Record::Cluster(_)
        | Record::Controller(_)
        | Record::JoinToken(_)
        | Record::Segment(_)
        | Record::Instance(_)
        | Record::Fence(_)
        | Record::Request(_)
        | Record::Event(_) => None,
    });
    let mut host = host.expect("a sample of a host");
    host.votes[1].controller = host.votes[0].controller;
    assert_eq!(Host::try_from(host), Err(error("votes", Problem::Unsorted)));
}

#[test]
fn refusal_of_a_message_is_an_invalid_argument() {
    let status = tonic::Status::from(convert::uuid(vec![0; 3], "instance").expect_err("three bytes"));
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(status.message(), "field 'instance': it has 3 bytes and must have 16");
}
