//! Hosts that come back: which boot is the later one, and what the fence before still holds.

use super::recovery::{plan, to};
use super::rig::{Rig, boot, host, operator};
use crate::{AgentReport, Change, ClusterTime, Event, LogIndex, Millis, Reason, Rejected, Reply, Uncertainty, Verdict};

fn says(boot_number: u8, as_of: u64) -> Change {
    let report = AgentReport { as_of: Some(LogIndex(as_of)), ..Rig::list(boot_number, &[]) };
    Change::AgentReport { host: host(2), report }
}

#[test]
fn a_boot_is_the_later_one_when_its_agent_knows_of_the_last_ones_first_report() {
    let mut rig = Rig::green();
    let first = rig.state.new_boot_since(&host(2), boot(12)).unwrap();
    assert_eq!(rig.state.new_boot_since(&host(2), boot(2)), None, "it is the one that is known");
    assert_eq!(rig.refused(says(12, first.0 - 1)), Rejected::WrongBoot(host(2)));
    rig.ok(says(22, first.0));
    assert_eq!(rig.last_event(), Event::HostRebooted { host: host(2), boot: boot(22) });
    let second = LogIndex(rig.index);
    assert_eq!(rig.state.new_boot_since(&host(2), boot(12)), Some(second));
    rig.refused(says(12, second.0 - 1));
    let facts = rig.state.host(&host(2)).unwrap().agent.clone().unwrap();
    assert_eq!(
        (facts.boot, facts.boot_at, facts.earlier),
        (boot(22), second, vec![boot(2)]),
        "what was late is nothing"
    );
    rig.report(2, 22, &[]);
    assert_eq!(rig.state.host(&host(2)).unwrap().agent.as_ref().unwrap().boot_at, second);
}

#[test]
fn a_persons_word_about_a_host_that_came_back_waits_for_the_late_orders_of_the_fence_before() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(1, 1)));
    rig.report(1, 1, &[1, 2]);
    rig.report(2, 12, &[]);
    rig.by = operator();
    let Reply::Fence(again) =
        rig.ok(Change::HostConfirmDead { host: host(2), reason: "it is dark".into(), boot: None })
    else {
        panic!("a word that counts is a fence of its own")
    };
    let permits = |token| rig.state.fence(&token).unwrap().permits.clone();
    assert_eq!(permits(again), permits(token));
    assert!(!permits(again).is_empty());
    rig.report(2, 22, &[]);
    rig.vote_all(2, Verdict::Alive { boot: boot(22) });
    let admit = Change::HostAdmit { host: host(2), boot: boot(22) };
    assert_eq!(rig.refused(admit.clone()), Rejected::Held(Reason::WaitsForPermits));
    rig.clock += 60_000;
    rig.ok(admit);
}

#[test]
fn a_dead_controllers_word_about_a_host_that_came_back_counts_for_a_while() {
    let mut rig = Rig::green();
    rig.fence(2);
    rig.report(2, 12, &[]);
    rig.vote(3, 2, Verdict::Alive { boot: boot(12) });
    rig.vote(1, 2, Verdict::CannotTell(Uncertainty::NeverSeen));
    rig.vote(2, 2, Verdict::Unreachable);
    rig.by = operator();
    let word = Change::HostConfirmDead { host: host(2), reason: "it is dark".into(), boot: None };
    rig.clock += 30_000;
    assert!(matches!(rig.refused(word.clone()), Rejected::Invalid(_)), "controller 3 may hear it");
    rig.clock += 1;
    rig.ok(word);
    assert_eq!((Millis(rig.clock), ClusterTime(rig.clock)), (Millis(30_001), ClusterTime(30_001)));
}

#[test]
fn a_word_about_the_boot_before_is_refused() {
    let mut rig = Rig::green();
    let token = rig.fence(2);
    rig.ok(plan(token, 2, to(1, 1)));
    rig.report(1, 1, &[1, 2]);
    rig.by = operator();
    let word =
        |number| Change::HostConfirmDead { host: host(2), reason: "it is dark".into(), boot: Some(boot(number)) };
    rig.ok(word(2));
    assert_eq!(rig.state.fences().count(), 1, "it is proven dead already");
    rig.report(2, 12, &[2]);
    let Rejected::Invalid(why) = rig.refused(word(2)) else { panic!("it has come up since") };
    assert!(why.starts_with("host host2 has come up in another boot since you looked"), "{why}");
    rig.ok(word(12));
    assert_eq!(rig.state.fences().count(), 2);
}
