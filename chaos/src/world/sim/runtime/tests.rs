use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft_rt::{AsyncRuntime, Instant as _};
use quorumfence_machine::{Millis, WallMillis};
use quorumfence_raft::Clock;
use tokio::time::{Instant, sleep};

use super::super::environment::SimClock;
use super::{Node, Rate, SimInstant, SimRuntime};

const FAST: i32 = 50_000;
const SLOW: i32 = -50_000;

/// Counts how often a task of a node ran, once every ten milliseconds.
fn counter(node: &Arc<Node>) -> Arc<AtomicU64> {
    let count = Arc::<AtomicU64>::default();
    let counting = Arc::clone(&count);
    let task = async move {
        loop {
            SimRuntime::sleep(Duration::from_millis(10)).await;
            counting.fetch_add(1, Ordering::SeqCst);
        }
    };
    drop(node.spawn(task));
    count
}

async fn pass(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_paused_twice_goes_on_after_one_resume() {
    let node = Node::new(1);
    let count = counter(&node);
    pass(5).await;
    node.pause();
    node.pause();
    pass(100).await;
    assert_eq!(count.load(Ordering::SeqCst), 0);
    node.resume();
    pass(1).await;
    assert_eq!(count.load(Ordering::SeqCst), 1, "what was overdue runs at once");
    node.resume();
    pass(100).await;
    assert_eq!(count.load(Ordering::SeqCst), 11);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_killed_while_paused_never_runs_again() {
    let node = Node::new(1);
    let count = counter(&node);
    let waiting = node.spawn(SimRuntime::sleep(Duration::from_secs(1)));
    pass(5).await;
    node.pause();
    pass(100).await;
    node.kill();
    node.resume();
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert!(node.spawn(async {}).await.unwrap_err().is_cancelled(), "nor does anything that is spawned later");
    node.pause();
    node.resume();
    pass(100).await;
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_woken_often_while_its_node_is_paused_is_held_once() {
    let node = Node::new(1);
    let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
    drop(node.spawn(async move { while receiver.recv().await.is_some() {} }));
    pass(1).await;
    node.pause();
    for number in 0..10 {
        sender.send(number).await.unwrap();
        pass(1).await;
    }
    assert_eq!(node.held.lock().unwrap().len(), 1);
    node.resume();
    pass(1).await;
    assert_eq!(sender.capacity(), 16);
}

#[tokio::test(start_paused = true)]
async fn timers_of_a_fast_clock_fire_early_and_those_of_a_slow_one_late() {
    for (parts_per_million, world_ms) in [(FAST, 9524), (0, 10_000), (SLOW, 10_527)] {
        let node = Node::with_rate(1, Rate::new(parts_per_million));
        pass(1234).await;
        let begun = Instant::now();
        let waits = async move {
            let time = Duration::from_secs(10);
            SimRuntime::sleep(time).await;
            let slept = begun.elapsed();
            let end = SimInstant::now() + time;
            SimRuntime::sleep_until(end).await;
            assert!(SimInstant::now() >= end, "no timer fires before its node's clock shows its moment");
            let until = begun.elapsed() - slept;
            SimRuntime::timeout(time, std::future::pending::<()>()).await.unwrap_err();
            let limited = begun.elapsed() - until - slept;
            SimRuntime::timeout_at(SimInstant::now() + time, std::future::pending::<()>()).await.unwrap_err();
            [slept, until, limited, begun.elapsed() - limited - until - slept]
        };
        for waited in node.spawn(waits).await.unwrap() {
            let error = waited.abs_diff(Duration::from_millis(world_ms));
            assert!(error <= Duration::from_millis(1), "{parts_per_million}: {waited:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_monotonic_clock_has_the_rate_of_its_node_and_the_wall_clock_jumps_alone() {
    let node = Node::with_rate(1, Rate::new(SLOW));
    let clock = SimClock { opened: Instant::now(), offset: Millis(7), node: Arc::clone(&node) };
    let wall = clock.wall();
    pass(10_000).await;
    assert_eq!((clock.now(), clock.wall()), (Millis(9507), WallMillis(wall.0 + 9500)));
    node.jump_wall(-3_600_000);
    assert_eq!((clock.now(), clock.wall()), (Millis(9507), WallMillis(wall.0 + 9500 - 3_600_000)));
}

#[test]
fn a_rate_there_and_back_is_never_too_early() {
    for parts_per_million in [FAST, 1, 0, -1, SLOW] {
        let rate = Rate::new(parts_per_million);
        for nanos in [0, 1, 999_999, 1_000_000, 1_000_000_007, 86_400_000_000_001] {
            let local = Duration::from_nanos(nanos);
            let there_and_back = rate.local(rate.world(local));
            assert!(there_and_back >= local && there_and_back - local <= Duration::from_nanos(1), "{rate:?} {nanos}");
        }
    }
}

#[test]
#[should_panic(expected = "no clock is 600001 parts per million wrong")]
fn a_clock_that_no_machine_has_is_refused() {
    Rate::new(600_001);
}
