use std::collections::BTreeSet;

use super::rig::{Rig, boot, host};
use crate::{Change, ControllerId, Event, HostState, LogIndex, Rejected, Uncertainty, Verdict};

const ALIVE: Verdict = Verdict::Alive { boot: crate::BootId([2; 16]) };

#[test]
fn only_a_majority_makes_a_host_lost() {
    let table: [(&[Verdict], bool); 6] = [
        (&[Verdict::Unreachable], false),
        (&[Verdict::Unreachable, Verdict::Unreachable], true),
        (&[Verdict::Unreachable, Verdict::PoweredOff], true),
        (&[Verdict::Unreachable, Verdict::CannotTell(Uncertainty::CutOff)], false),
        (&[Verdict::CannotTell(Uncertainty::AgentSilent); 3], false),
        (&[Verdict::Unreachable, ALIVE, Verdict::PoweredOff], true),
    ];
    for (verdicts, lost) in table {
        let mut rig = Rig::green();
        for (voter, verdict) in (1..).zip(verdicts) {
            rig.vote(voter, 2, *verdict);
        }
        let is_lost = matches!(rig.state.host(&host(2)).unwrap().state, HostState::Lost { .. });
        assert_eq!(is_lost, lost, "{verdicts:?}");
    }
}

#[test]
fn a_host_never_admitted_is_not_condemned_by_silence() {
    let mut rig = Rig::disarmed();
    rig.join(4);
    rig.ok(rig.enrolment(4, 1));
    rig.lose(4);
    assert_eq!(rig.state.host(&host(4)).unwrap().state, HostState::New);
}

#[test]
fn strangers_do_not_vote() {
    let mut rig = Rig::green();
    assert_eq!(rig.vote(4, 2, Verdict::Unreachable).reply, Err(Rejected::NotAVoter(ControllerId(4))));
}

#[test]
fn a_lost_host_is_regained_while_nothing_is_decided() {
    let mut rig = Rig::green();
    let at = rig.lose(2);
    rig.vote(1, 2, ALIVE);
    let lost = HostState::Lost { boot: boot(2), at };
    assert_eq!(rig.state.host(&host(2)).unwrap().state, lost, "controller 3 said so before, and may be dead");
    rig.vote(3, 2, ALIVE);
    assert_eq!(rig.last_event(), Event::HostRegained { host: host(2) });
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Up { boot: boot(2) });
}

#[test]
fn a_committed_decision_is_not_undone_by_a_late_heartbeat() {
    let mut rig = Rig::green();
    let token = rig.decide(2);
    rig.vote_all(2, ALIVE);
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Fencing { token });
}

#[test]
fn votes_of_a_controller_that_left_do_not_count() {
    let mut rig = Rig::green();
    rig.vote(3, 2, Verdict::Unreachable);
    rig.index += 1;
    rig.state.apply_voters(LogIndex(rig.index), &BTreeSet::from([1, 2, 4].map(ControllerId)));
    rig.vote(1, 2, Verdict::Unreachable);
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Up { boot: boot(2) });
    assert_eq!(rig.state.check(), Vec::new());
}

#[test]
fn another_boot_on_a_host_that_is_up_is_a_failure() {
    let mut rig = Rig::green();
    rig.report(2, 12, &[]);
    assert!(matches!(rig.state.host(&host(2)).unwrap().state, HostState::Lost { .. }));
    rig.vote_all(2, Verdict::Alive { boot: boot(12) });
    assert!(matches!(rig.state.host(&host(2)).unwrap().state, HostState::Lost { .. }), "the old boot is not regained");
}

#[test]
fn a_vote_about_a_fenced_boot_does_not_condemn_the_next_one() {
    let mut rig = Rig::green();
    rig.report(2, 2, &[]);
    rig.fence(2);
    rig.report(2, 12, &[]);
    let next = Verdict::Alive { boot: boot(12) };
    rig.vote(1, 2, next);
    rig.vote(2, 2, next);
    rig.clock += 30_000;
    rig.ok(Change::HostAdmit { host: host(2), boot: boot(12) });
    let voters: Vec<ControllerId> = rig.state.host(&host(2)).unwrap().votes.keys().copied().collect();
    assert_eq!(voters, [1, 2].map(ControllerId), "controller 3 died in the old boot's time");
    rig.vote(1, 2, Verdict::Unreachable);
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Up { boot: boot(12) });
    rig.vote(3, 2, ALIVE);
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Up { boot: boot(12) }, "a late vote");
    rig.vote(3, 2, Verdict::Alive { boot: boot(22) });
    assert!(matches!(rig.state.host(&host(2)).unwrap().state, HostState::Lost { .. }), "a later boot condemns");
}

#[test]
fn a_controller_that_cannot_tell_any_more_does_not_regain_a_lost_host() {
    let mut rig = Rig::green();
    let at = rig.lose(2);
    rig.vote(1, 2, Verdict::CannotTell(Uncertainty::CutOff));
    rig.vote(2, 2, Verdict::CannotTell(Uncertainty::CutOff));
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Lost { boot: boot(2), at });
    rig.vote(2, 2, ALIVE);
    rig.vote(3, 2, ALIVE);
    assert_eq!(rig.state.host(&host(2)).unwrap().state, HostState::Up { boot: boot(2) });
}

#[test]
fn a_vote_that_its_controller_does_not_cast_again_condemns_no_more() {
    let lost_after = |pause, again: bool| {
        let mut rig = Rig::green();
        rig.vote(2, 2, Verdict::Unreachable);
        if again {
            rig.clock += 10_000;
            rig.vote(2, 2, Verdict::Unreachable);
        }
        rig.clock += pause;
        rig.vote(3, 2, Verdict::Unreachable);
        matches!(rig.state.host(&host(2)).unwrap().state, HostState::Lost { .. })
    };
    assert!(lost_after(30_000, false));
    assert!(!lost_after(30_001, false), "controller 2 died, and nobody knows what it would see now");
    assert!(lost_after(30_000, true));
    let mut rig = Rig::green();
    rig.vote(2, 2, Verdict::PoweredOff);
    rig.clock += 300_000;
    rig.vote(3, 2, Verdict::Unreachable);
    rig.vote(2, 2, Verdict::PoweredOff);
    assert!(matches!(rig.last_event(), Event::HostLost { votes: 2, voters: 3, .. }), "it lives, and says so again");
}
