use std::sync::atomic::{AtomicU64, Ordering};

use quorumfence_machine::{Actor, Change, ClusterId, Command, LogIndex, Settings, State, WallMillis};

use super::*;
use crate::replica::Members;

#[derive(Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Clock for Hand {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> WallMillis {
        WallMillis(0)
    }
}

impl Hand {
    fn set(&self, now: u64) {
        self.0.store(now, Ordering::SeqCst);
    }
}

fn shared_at(clock: u64) -> Shared {
    let change = Change::ClusterCreate {
        cluster: ClusterId([1; 16]),
        name: "test".into(),
        address: "h1:7000".into(),
        settings: Settings::default(),
    };
    let by = Actor::Operator("tester".into());
    let create = Command { by, wall: WallMillis(0), clock: ClusterTime(0), request: None, change };
    let mut state = State::default();
    state.apply(LogIndex(1), &create).reply.unwrap();
    let change = Change::Arm { reason: "tested".into() };
    state.apply(LogIndex(2), &Command { clock: ClusterTime(clock), change, ..create }).reply.unwrap();
    Shared::new(state, LogIndex(2), Members::default())
}

#[test]
fn a_leader_continues_the_applied_clock_by_its_own() {
    let hand = Hand::default();
    let clock = ClusterClock::new(hand.clone());
    let shared = shared_at(500);
    hand.set(10_000);
    assert_eq!(clock.read(Term(1), &shared), ClusterTime(500));
    hand.set(10_250);
    assert_eq!(clock.read(Term(1), &shared), ClusterTime(750));
}

#[test]
fn time_without_leadership_is_lost_and_never_gained() {
    let hand = Hand::default();
    let clock = ClusterClock::new(hand.clone());
    let shared = shared_at(500);
    assert_eq!(clock.read(Term(1), &shared), ClusterTime(500));
    hand.set(60_000);
    assert_eq!(clock.read(Term(2), &shared), ClusterTime(500));
    hand.set(60_001);
    assert_eq!(clock.read(Term(2), &shared), ClusterTime(501));
}

#[test]
fn a_higher_applied_clock_is_never_undercut() {
    let hand = Hand::default();
    let clock = ClusterClock::new(hand.clone());
    assert_eq!(clock.read(Term(1), &shared_at(500)), ClusterTime(500));
    hand.set(100);
    let later = shared_at(9000);
    assert_eq!(clock.read(Term(1), &later), ClusterTime(9000));
    hand.set(150);
    assert_eq!(clock.read(Term(1), &later), ClusterTime(9050));
}
