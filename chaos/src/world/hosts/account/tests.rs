use quorumfence_machine::{Actor, ClusterTime, Segment, Settings};

use super::*;
use crate::invariants::sample::{
    admitted, armed, boot, decided, fenced, host, instance, off_proof, planned, runs, token,
};
use crate::observation::Cause;
use crate::verdict::Court;

/// A list of events: the wall clock's milliseconds, the entry, what it changed.
fn list(rows: &[(u64, u64, Event)]) -> List {
    let record = |((wall, at, event), sequence): (&(u64, u64, Event), u64)| EventRecord {
        sequence,
        at: LogIndex(*at),
        wall: WallMillis(*wall),
        clock: ClusterTime(0),
        by: Actor::Operator("test".into()),
        event: event.clone(),
    };
    List { controller: ControllerId(1), events: rows.iter().zip(1..).map(record).collect() }
}

/// Host a is cut at 1000 ms, fenced, and its instance is planned for b at 1300 ms.
fn recovery() -> List {
    list(&[
        (100, 3, armed()),
        (200, 4, admitted("a", 1)),
        (200, 5, admitted("b", 1)),
        (1100, 7, decided("a", 7)),
        (1200, 9, fenced("a", 7, off_proof())),
        (1300, 10, planned(1, "a", "b", 10)),
        (1900, 11, runs(1, "b", 10)),
    ])
}

fn fact(at: u64, seen: Seen) -> Fact {
    Fact { at: WallMillis(at), seen }
}

fn started(at: u64, on: &str) -> Fact {
    fact(at, Seen::Started { instance: instance(1), host: host(on), token: None })
}

fn cut(at: u64) -> Fact {
    fact(at, Seen::PowerOff { host: host("a"), cause: Cause::Outside })
}

fn judged(facts: Vec<Fact>, lists: &[List]) -> Option<String> {
    let mut court = Court::default();
    let opened = Seen::Opened { run: "test".into(), settings: Settings::default(), segment: Segment::default() };
    let opened = Observation { at: Millis(0), seen: opened };
    let history = history(facts, lists, WallMillis(0), WallMillis(500));
    std::iter::once(&opened).chain(&history).find_map(|seen| court.see(seen)).map(|broken| broken.to_string())
}

#[test]
fn a_host_that_was_off_before_its_guest_started_elsewhere_breaks_nothing() {
    assert_eq!(judged(vec![started(300, "a"), cut(1000), started(1500, "b")], &[recovery()]), None);
}

#[test]
fn a_start_while_the_host_has_power_is_convicted_although_its_fence_is_committed() {
    let broken = judged(vec![started(300, "a"), started(1500, "b")], &[recovery()]);
    assert!(broken.as_ref().is_some_and(|broken| broken.starts_with("S2 is broken at 1.200 s")), "{broken:?}");
}

#[test]
fn a_start_that_no_plan_ordered_is_convicted() {
    let broken = judged(vec![started(300, "a"), cut(1000), started(1500, "c")], &[recovery()]);
    assert!(broken.as_ref().is_some_and(|broken| broken.contains("ordered it to b")), "{broken:?}");
    let none = list(&[(100, 3, armed())]);
    let broken = judged(vec![started(300, "a"), cut(1000), started(1500, "b")], &[none]);
    assert!(broken.as_ref().is_some_and(|broken| broken.contains("no committed recovery ordered")), "{broken:?}");
}

#[test]
fn a_start_by_the_worlds_own_hand_has_no_token_and_a_later_one_has_that_of_its_plan() {
    let seen = history(vec![started(300, "a"), started(1500, "b")], &[recovery()], WallMillis(0), WallMillis(500));
    let tokens: Vec<Option<Token>> = seen
        .iter()
        .filter_map(|row| if let Seen::Started { token, .. } = &row.seen { Some(*token) } else { None })
        .collect();
    assert_eq!(tokens, [None, Some(token(10))]);
}

#[test]
fn entries_between_those_of_the_list_are_there_and_change_nothing() {
    let list = list(&[(100, 3, armed()), (90, 5, admitted("a", 1)), (120, 5, admitted("b", 2))]);
    let seen = history(Vec::new(), &[list], WallMillis(50), WallMillis(0));
    let rows: Vec<(u64, u64, usize)> = seen
        .iter()
        .filter_map(|row| {
            let Seen::Applied { index, events, .. } = &row.seen else { return None };
            Some((row.at.0, index.0, events.len()))
        })
        .collect();
    assert_eq!(rows, [(50, 3, 1), (50, 4, 0), (50, 5, 2)]);
}

#[test]
fn what_the_hardware_did_in_the_same_millisecond_comes_before_what_rests_on_it() {
    let on = fact(1200, Seen::PowerOn { host: host("a"), boot: boot(9) });
    let seen = history(vec![on, cut(1200)], &[recovery()], WallMillis(0), WallMillis(0));
    let kinds: Vec<u8> = seen.iter().filter(|row| row.at == Millis(1200)).map(|row| rank(&row.seen)).collect();
    assert_eq!(kinds, [0, 1, 3, 3]);
}
