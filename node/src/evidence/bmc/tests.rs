use super::*;
use crate::sample::{Log, ME, enrolment, host};
use quorumfence_machine::{Actor, Change, Doubt};

fn seen(ask: Ask, outcome: Outcome<Power>) -> Seen {
    Seen { ask, levels: vec![vec![outcome]] }
}

/// One host that stays suspect; returns when it is asked, looking every 10 ms and answering `outcome` at once.
fn asked_at(rank: u64, until: u64, outcome: &Outcome<Power>) -> Vec<u64> {
    let log = Log::of(&["a"]);
    let row = log.state.host(&host("a")).unwrap();
    let mut plan = Plan::default();
    let mut asked = Vec::new();
    let mut off = None;
    for now in (0..until).step_by(10).map(Millis) {
        for ask in plan.suspects(&[(row, off)], rank, now) {
            asked.push(now.0);
            let seen = seen(ask, outcome.clone());
            off = seen.reading();
            plan.ended(&seen, row.enrolment.as_ref(), now);
        }
    }
    asked
}

#[test]
fn suspect_is_asked_at_once_then_less_and_less_often() {
    let on = Outcome::Observed(Power::On);
    assert_eq!(asked_at(0, 20_000, &on), [0, 1000, 3000, 7000, 15_000]);
}

#[test]
fn voters_ask_one_after_the_other() {
    let on = Outcome::Observed(Power::On);
    assert_eq!([asked_at(0, 500, &on), asked_at(1, 500, &on), asked_at(2, 500, &on)], [[0], [40], [80]]);
}

#[test]
fn fresh_reading_of_off_is_not_asked_for_again() {
    assert_eq!(asked_at(0, 12_000, &Outcome::Observed(Power::Off)), [0, 10_000]);
}

#[test]
fn refused_credentials_are_not_tried_again_until_the_enrolment_changes() {
    let refused = Outcome::Refused(Refusal::Credentials);
    assert_eq!(asked_at(0, 60_000, &refused), [0]);

    let mut log = Log::of(&["a"]);
    let mut plan = Plan::default();
    let before = log.state.host(&host("a")).unwrap().clone();
    let ask = plan.suspects(&[(&before, None)], 0, Millis(0)).pop().unwrap();
    plan.ended(&seen(ask, refused), before.enrolment.as_ref(), Millis(0));
    let change = Change::HostEnrol { host: host("a"), enrolment: enrolment("a", "another secret") };
    log.apply(Actor::Controller(ME), change).unwrap();
    let after = log.state.host(&host("a")).unwrap();
    assert_eq!(plan.suspects(&[(after, None)], 0, Millis(5000)).len(), 1);
}

#[test]
fn enrolment_that_changed_during_the_look_is_not_blamed() {
    let log = Log::of(&["a"]);
    let row = log.state.host(&host("a")).unwrap();
    let mut plan = Plan::default();
    let ask = plan.suspects(&[(row, None)], 0, Millis(0)).pop().unwrap();
    let newer = enrolment("a", "another secret");
    plan.ended(&seen(ask, Outcome::Refused(Refusal::Credentials)), Some(&newer), Millis(0));
    assert_eq!(plan.suspects(&[(row, None)], 0, Millis(1000)).len(), 1, "the old secret was refused, not the new one");
}

#[test]
fn looks_at_once_are_limited_and_one_per_host() {
    let names: Vec<String> = (0..20).map(|number| format!("h{number:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let log = Log::of(&names);
    let suspects: Vec<(&Host, Option<PowerReading>)> = log.state.hosts().map(|row| (row, None)).collect();
    let mut plan = Plan::default();
    let asked = plan.suspects(&suspects, 0, Millis(0));
    let hosts: BTreeSet<HostId> = asked.iter().map(|ask| ask.host.clone()).collect();
    assert_eq!((asked.len(), hosts.len()), (LOOKS_MAX, LOOKS_MAX));
    assert!(plan.suspects(&suspects, 0, Millis(5000)).is_empty(), "all places are taken");
}

#[test]
fn sweep_asks_every_host_once_a_minute() {
    let log = Log::of(&["a", "b"]);
    let mut plan = Plan::default();
    let mut asked = Vec::new();
    for now in (0..130_000).step_by(1000).map(Millis) {
        for ask in plan.sweep(log.state.hosts(), 1, now) {
            asked.push((now.0, ask.host.to_string()));
            plan.ended(&seen(ask, Outcome::Observed(Power::On)), None, now);
        }
    }
    let at = |time: u64| [(time, "a".to_owned()), (time, "b".to_owned())];
    assert_eq!(asked, [at(5000), at(65_000), at(125_000)].concat());
}

#[test]
fn level_is_off_only_when_all_its_devices_are() {
    let off = || Outcome::Observed(Power::Off);
    let doubt = || Outcome::Unknown(Doubt::Timeout);
    assert_eq!(power(&[off(), off()]), Some(off()));
    assert_eq!(power(&[off(), Outcome::Observed(Power::On)]), Some(Outcome::Observed(Power::On)));
    assert_eq!(power(&[off(), doubt()]), Some(doubt()));
    assert_eq!(power(&[]), None);
}
