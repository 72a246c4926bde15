use super::*;
use crate::sample::{Log, ME, host};
use quorumfence_machine::Evidence;

const ALIVE: Verdict = Verdict::Alive { boot: quorumfence_machine::BootId([1; 16]) };

fn vote(name: &str, verdict: Verdict) -> Vote {
    Vote { host: host(name), verdict, evidence: Evidence::default() }
}

fn names(votes: &[Vote]) -> Vec<String> {
    votes.iter().map(|vote| format!("{} {}", vote.host, vote.verdict)).collect()
}

#[test]
fn only_changed_verdicts_are_proposed() {
    let mut log = Log::of(&["a", "b"]);
    log.vote(vec![vote("a", ALIVE), vote("b", ALIVE)]);
    let judged = vec![vote("a", ALIVE), vote("b", Verdict::Unreachable)];
    let changed = Ballot::default().changed(&log.state, ME, judged, Millis(0));
    assert_eq!(names(&changed), ["b unreachable"]);
}

#[test]
fn proposed_verdict_waits_for_its_entry_and_not_longer() {
    let mut log = Log::of(&["a"]);
    let mut ballot = Ballot::default();
    let ask = |ballot: &mut Ballot, log: &Log, now| {
        names(&ballot.changed(&log.state, ME, vec![vote("a", Verdict::Unreachable)], now))
    };
    assert_eq!(ask(&mut ballot, &log, Millis(0)), ["a unreachable"]);
    assert!(ask(&mut ballot, &log, Millis(1)).is_empty(), "it is in flight");
    ballot.committed(&[vote("a", Verdict::Unreachable)], LogIndex(log.last().0 + 1));
    assert!(ask(&mut ballot, &log, Millis(2)).is_empty(), "it is committed and not applied here");
    log.vote(vec![vote("a", Verdict::Unreachable)]);
    assert!(ask(&mut ballot, &log, Millis(3)).is_empty(), "it is cast");
    log.vote(vec![vote("a", ALIVE)]);
    assert_eq!(ask(&mut ballot, &log, Millis(4)), ["a unreachable"]);
}

#[test]
fn failed_proposal_is_made_again() {
    let log = Log::of(&["a"]);
    let mut ballot = Ballot::default();
    let judged = || vec![vote("a", Verdict::PoweredOff)];
    let first = ballot.changed(&log.state, ME, judged(), Millis(0));
    ballot.failed(&first);
    assert_eq!(ballot.changed(&log.state, ME, judged(), Millis(1)), first);
}

#[test]
fn proposal_without_an_end_is_made_again_after_its_time() {
    let log = Log::of(&["a"]);
    let mut ballot = Ballot::default();
    let mut count = |now| ballot.changed(&log.state, ME, vec![vote("a", ALIVE)], now).len();
    assert_eq!([count(Millis(0)), count(Millis(1999)), count(Millis(2000))], [1, 0, 1]);
}

#[test]
fn controller_that_is_no_voter_casts_nothing() {
    let log = Log::of(&["a"]);
    let changed = Ballot::default().changed(&log.state, ControllerId(2), vec![vote("a", ALIVE)], Millis(0));
    assert!(changed.is_empty());
}

#[test]
fn other_verdict_is_proposed_while_the_first_is_on_its_way() {
    let log = Log::of(&["a"]);
    let mut ballot = Ballot::default();
    let mut ask = |verdict| names(&ballot.changed(&log.state, ME, vec![vote("a", verdict)], Millis(0)));
    assert_eq!(ask(Verdict::Unreachable), ["a unreachable"]);
    assert_eq!(ask(Verdict::PoweredOff), ["a powered off"]);
}
