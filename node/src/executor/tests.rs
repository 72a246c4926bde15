use std::cell::RefCell;

use futures_util::FutureExt;
use quorumfence_machine::{
    Actor, BootId, Change, ClusterTime, ControllerId, Doubt, Evidence, FenceWork, InstanceId, LogIndex, Outcome, Reply,
    Settings, StopWork, Token, Verdict, Vote,
};

use super::*;
use crate::sample::{Log, ME, boot, host, report};

fn fence(token: u64, attempt: u32) -> Work {
    Work::Fence(FenceWork {
        token: Token(LogIndex(token)),
        host: host("a"),
        level: 0,
        attempt,
        not_before: ClusterTime(0),
        executor: None,
        identity: None,
        devices: Vec::new(),
    })
}

fn stop(instance: u8) -> Work {
    Work::Stop(StopWork {
        token: Token(LogIndex(1)),
        instance: InstanceId([instance; 16]),
        host: host("a"),
        boot: BootId([1; 16]),
    })
}

/// Reconciles, lets every task run as far as it can, and returns what was started.
fn reconcile(tasks: &mut Tasks, wanted: &[Work], now: u64) -> Vec<Work> {
    let started = RefCell::new(Vec::new());
    tasks.reconcile(wanted.to_vec(), Millis(now), |work| {
        started.borrow_mut().push(work);
        std::future::pending().boxed()
    });
    while let Some(id) = tasks.next_ended().now_or_never() {
        tasks.ended(id, Millis(now));
    }
    started.into_inner()
}

#[test]
fn wanted_work_is_started_once() {
    let mut tasks = Tasks::default();
    assert_eq!(reconcile(&mut tasks, &[fence(1, 1), stop(1)], 0), [fence(1, 1), stop(1)]);
    assert!(reconcile(&mut tasks, &[fence(1, 1), stop(1)], 1).is_empty());
}

#[test]
fn next_attempt_waits_until_the_last_one_is_gone() {
    let mut tasks = Tasks::default();
    assert_eq!(reconcile(&mut tasks, &[fence(1, 1), fence(2, 1)], 0), [fence(1, 1), fence(2, 1)]);
    assert!(reconcile(&mut tasks, &[fence(1, 2), fence(2, 1)], 1).is_empty());
    assert_eq!(reconcile(&mut tasks, &[fence(1, 2), fence(2, 1)], 2), [fence(1, 2)]);
}

#[test]
fn task_ends_when_its_work_is_not_wanted() {
    let mut tasks = Tasks::default();
    assert_eq!(reconcile(&mut tasks, &[stop(1)], 0), [stop(1)]);
    assert!(reconcile(&mut tasks, &[], 1).is_empty());
    assert!(tasks.running.is_empty());
}

#[test]
fn task_that_ended_by_itself_rests_before_it_starts_again() {
    let mut tasks = Tasks::default();
    tasks.reconcile(vec![stop(1)], Millis(0), |_| std::future::ready(()).boxed());
    let id = tasks.next_ended().now_or_never().expect("it ended");
    tasks.ended(id, Millis(10));
    assert!(reconcile(&mut tasks, &[stop(1)], 509).is_empty());
    assert_eq!(reconcile(&mut tasks, &[stop(1)], 510), [stop(1)]);
}

#[test]
fn tasks_at_once_are_limited() {
    let mut tasks = Tasks::default();
    let wanted: Vec<Work> = (0..2000_u32)
        .map(|number| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            Work::Stop(StopWork {
                instance: InstanceId(id),
                token: Token(LogIndex(1)),
                host: host("a"),
                boot: BootId([1; 16]),
            })
        })
        .collect();
    assert_eq!(reconcile(&mut tasks, &wanted, 0).len(), TASKS_MAX);
}

const OTHER: ControllerId = ControllerId(2);
const THIRD: ControllerId = ControllerId(3);

/// A log in which host a is being fenced by three voters, the first attempt failed in doubt, and it is controller 2's
/// turn. Controller 1 has led.
struct Fencing {
    log: Log,
    token: Token,
}

impl Fencing {
    fn begun() -> Self {
        let names = ["a", "b", "c"];
        let mut log = Log::of(&names);
        let each = |verdict: fn(u8) -> Verdict| {
            let vote =
                |(name, number)| Vote { host: host(name), verdict: verdict(number), evidence: Evidence::default() };
            names.into_iter().zip(1..).map(vote).collect::<Vec<_>>()
        };
        names.into_iter().zip(1..).for_each(|(name, number)| log.report(name, report(number, Vec::new())));
        log.vote(each(|number| Verdict::Alive { boot: boot(number) }));
        for (name, number) in names.into_iter().zip(1..) {
            log.apply(Actor::Controller(ME), Change::HostAdmit { host: host(name), boot: boot(number) }).unwrap();
        }
        log.vote(vec![each(|_| Verdict::Unreachable).remove(0)]);
        let decide = Change::FenceDecide { host: host("a"), lost_at: log.last() };
        let Ok(Reply::Fence(token)) = log.apply(Actor::Controller(ME), decide) else { panic!("it is decided") };
        log.state.apply_voters(log.last(), &[ME, OTHER, THIRD].into());
        let mut fencing = Self { log, token };
        let permit = fencing.permit(ME);
        let outcomes = vec![Outcome::Unknown(Doubt::Timeout)];
        let result = Change::FenceResult { token, permit, outcomes };
        fencing.log.apply(Actor::Controller(ME), result).unwrap();
        fencing
    }

    fn permit(&mut self, executor: ControllerId) -> LogIndex {
        let life = Settings::default().permit_life;
        let grant = Change::PermitGrant { token: self.token, executor, level: 0, life };
        let Ok(Reply::Permit(at)) = self.log.apply(Actor::Controller(executor), grant) else { panic!("it is granted") };
        at
    }

    fn attempt(&self) -> FenceWork {
        let Some(Work::Fence(work)) = self.log.state.work().into_iter().next() else { panic!("an attempt is due") };
        work
    }

    fn clock(&self) -> ClusterTime {
        self.log.state.cluster().unwrap().clock
    }
}

#[test]
fn an_attempt_is_its_executors_and_the_leader_has_the_rest() {
    let fencing = Fencing::begun();
    let attempt = fencing.attempt();
    assert_eq!(attempt.executor, Some(OTHER));
    assert_eq!(of_deputy(&fencing.log.state, OTHER), std::slice::from_ref(&attempt));
    assert_eq!(of_deputy(&fencing.log.state, THIRD), []);
    let all = || vec![Work::Fence(attempt.clone()), fence(1, 1), stop(1)];
    assert_eq!(of_leader(all(), ME), all(), "it stands in, should controller 2 be away");
    assert_eq!(of_leader(all(), OTHER), [fence(1, 1), stop(1)], "it is its own deputy");
}

#[test]
fn an_attempt_is_free_once_no_permit_of_anybody_else_lives() {
    let mut fencing = Fencing::begun();
    let attempt = fencing.attempt();
    let free = |fencing: &Fencing, me| turn::free_from(&fencing.log.state, &attempt, me);
    assert_eq!(free(&fencing, ME), attempt.not_before, "the first permit has ended");
    fencing.permit(OTHER);
    let ends = fencing.clock().after(Settings::default().permit_life);
    assert_eq!(free(&fencing, OTHER), attempt.not_before, "its own keeps nobody waiting");
    assert_eq!(free(&fencing, ME), ends);
    fencing.permit(ME);
    assert_eq!(free(&fencing, ME), ends);
    assert_eq!(free(&fencing, OTHER), fencing.clock().after(Settings::default().permit_life));
}

/// What whoever stands in waits for: a time of the cluster's clock, or so long.
#[derive(Debug, PartialEq, Eq)]
enum Wait {
    Until(ClusterTime),
    For(Millis),
}

/// Stands in for controller 2, which does this while the leader is patient.
fn waits(mut meanwhile: impl FnMut(&mut Fencing)) -> (Vec<Wait>, Fencing) {
    let fencing = RefCell::new(Fencing::begun());
    let attempt = fencing.borrow().attempt();
    let waits = RefCell::new(Vec::new());
    let free = || turn::free_from(&fencing.borrow().log.state, &attempt, ME);
    let reach = |moment| {
        waits.borrow_mut().push(Wait::Until(moment));
        std::future::ready(())
    };
    let pause = |time| {
        waits.borrow_mut().push(Wait::For(time));
        meanwhile(&mut fencing.borrow_mut());
        std::future::ready(())
    };
    turn::stand_in(free, reach, pause).now_or_never().expect("nothing waits");
    (waits.into_inner(), fencing.into_inner())
}

#[test]
fn the_leader_stands_in_for_a_voter_that_asks_for_no_permit_in_time() {
    let (waits, fencing) = waits(|_| {});
    let due = fencing.attempt().not_before;
    assert_eq!(waits, [Wait::Until(due), Wait::For(Millis(2000)), Wait::Until(due)]);
}

#[test]
fn the_leader_waits_for_the_permit_of_a_voter_that_asked_and_died() {
    let (waits, fencing) = waits(|fencing| {
        fencing.permit(OTHER);
    });
    let due = fencing.attempt().not_before;
    let ends = fencing.clock().after(Settings::default().permit_life);
    assert_eq!(waits, [Wait::Until(due), Wait::For(Millis(2000)), Wait::Until(ends)]);
}
