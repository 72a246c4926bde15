use quorumfence_machine::InstanceState::{Running, Stopped};
use quorumfence_machine::{
    Actor, AgentReport, Change, Evidence, InstanceReport, LogIndex, Millis, SystemUuid, Verdict, Vote,
};

use super::differs;
use crate::sample::{Log, ME, boot, host, instance, report};

/// A cluster in which host `a` reported `known`; returns whether `next` says something else.
fn says_more(known: &AgentReport, next: &AgentReport) -> bool {
    let mut log = Log::of(&["a", "b"]);
    log.report("a", known.clone());
    differs(&log.state, &host("a"), next)
}

#[test]
fn first_report_of_a_host_says_something() {
    let log = Log::of(&["a"]);
    assert!(differs(&log.state, &host("a"), &report(1, Vec::new())));
    assert!(!differs(&log.state, &host("stranger"), &report(1, Vec::new())), "a host that did not join is not heard");
}

#[test]
fn same_report_says_nothing() {
    let known = report(1, vec![instance(1, Running), instance(2, Stopped)]);
    assert!(!says_more(&known, &known));
}

#[test]
fn every_changed_field_says_something() {
    let known = report(1, vec![instance(1, Running), instance(2, Stopped)]);
    let with = |row: InstanceReport| AgentReport { instances: vec![instance(1, Running), row], ..known.clone() };
    let changed = [
        AgentReport { boot: boot(2), as_of: Some(LogIndex(u64::MAX)), ..known.clone() },
        AgentReport { boot: boot(2), ..known.clone() },
        AgentReport { memory_mib: 1, ..known.clone() },
        AgentReport { cannot_refuse: true, ..known.clone() },
        AgentReport { instances: vec![instance(1, Running)], ..known.clone() }.clone(),
        with(instance(2, Running)),
        with(InstanceReport { name: "another".into(), ..instance(2, Stopped) }),
        with(InstanceReport { ha_enabled: false, ..instance(2, Stopped) }),
        with(InstanceReport { definition: "<domain id='2'/>".into(), ..instance(2, Stopped) }),
    ];
    let said: Vec<bool> = changed.iter().map(|next| says_more(&known, next)).collect();
    // A boot that has not been told of the last one may be over. A stopped instance that is gone changes nothing: it is
    // stopped either way.
    assert_eq!(said, [true, false, true, true, false, true, true, true, true]);
}

#[test]
fn a_list_as_of_another_entry_says_nothing_new() {
    let known = report(1, vec![instance(1, Running)]);
    assert!(!says_more(&known, &AgentReport { as_of: Some(LogIndex(9)), ..known.clone() }));
}

#[test]
fn a_list_from_after_the_log_gave_an_instance_away_says_something() {
    let mut log = Log::of(&["a", "b"]);
    let list = |at: u64| AgentReport { as_of: Some(LogIndex(at)), ..report(1, vec![instance(1, Running)]) };
    let before = log.last();
    log.report("b", report(2, vec![instance(1, Running)]));
    log.report("a", list(before.0));
    let given = log.last().0 - 1;
    assert!(!differs(&log.state, &host("a"), &list(given - 1)), "it is as old as the one that is known");
    assert!(differs(&log.state, &host("a"), &list(given)));
    log.report("a", list(given));
    assert!(!differs(&log.state, &host("a"), &list(given + 1)), "it is known");
}

#[test]
fn running_instance_that_is_gone_says_something() {
    let known = report(1, vec![instance(1, Running)]);
    assert!(says_more(&known, &report(1, Vec::new())));
}

#[test]
fn instance_of_another_host_says_nothing_twice() {
    let mut log = Log::of(&["a", "b"]);
    log.report("b", report(2, vec![instance(1, Running)]));
    let stray = report(1, vec![instance(1, Running)]);
    assert!(differs(&log.state, &host("a"), &stray));
    log.report("a", stray.clone());
    assert!(!differs(&log.state, &host("a"), &stray));
}

#[test]
fn report_from_another_machine_says_nothing() {
    let from = |machine: Option<u8>| AgentReport {
        system_uuid: machine.map(|machine| SystemUuid([machine; 16])),
        ..report(1, Vec::new())
    };
    let mut log = Log::of(&["a"]);
    log.report("a", from(Some(1)));
    let evidence = Evidence { heartbeat_age: Some(Millis(1)), ..Evidence::default() };
    log.vote(vec![Vote { host: host("a"), verdict: Verdict::Alive { boot: boot(1) }, evidence }]);
    log.apply(Actor::Controller(ME), Change::HostAdmit { host: host("a"), boot: boot(1) }).expect("it is alive");
    let says_more = |machine: Option<u8>, next_boot: u8| {
        let as_of = log.state.new_boot_since(&host("a"), boot(next_boot));
        differs(&log.state, &host("a"), &AgentReport { boot: boot(next_boot), as_of, ..from(machine) })
    };
    assert!(says_more(Some(1), 2), "the host rebooted");
    assert!(!says_more(Some(2), 2), "what another machine says is refused, so it is not proposed again and again");
    assert!(!says_more(None, 1), "an agent that cannot read its machine's name says nothing new");
}
