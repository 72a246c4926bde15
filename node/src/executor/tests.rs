use std::cell::RefCell;

use futures_util::FutureExt;
use quorumfence_machine::{BootId, ClusterTime, FenceWork, InstanceId, LogIndex, StopWork, Token};

use super::*;
use crate::sample::host;

fn fence(token: u64, attempt: u32) -> Work {
    Work::Fence(FenceWork {
        token: Token(LogIndex(token)),
        host: host("a"),
        level: 0,
        attempt,
        not_before: ClusterTime(0),
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
