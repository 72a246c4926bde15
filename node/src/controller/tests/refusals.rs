//! What an agent's disk does to its refusals, and does not do to its heartbeats.

use quorumfence_machine::{HostId, InstanceId, Millis};
use quorumfence_raft::{Clock, SystemClock};

use super::bench::{Disk, World};
use crate::sample::host;

const VM: InstanceId = InstanceId([9; 16]);

/// Longer than the leader waits before it orders again, and than a silence that condemns.
const A_WHILE: Millis = Millis(6000);

/// Three hosts; the first dies with its instance, and the second refuses to start it while its disk is `troubled`.
async fn refused_on(troubled: impl FnOnce(&Disk)) -> (World, HostId, Disk) {
    let mut world = World::with(&["a", "b", "c"], &[VM]).await;
    let target = host("b");
    let disk = world.disk(&target);
    world.lab.truth().get_mut(&target).unwrap().refuses_starts = true;
    troubled(&disk);
    world.lab.cut(&host("a"));
    world.silence(&host("a")).await;
    (world, target, disk)
}

fn cannot_refuse(world: &World, id: &HostId) -> bool {
    world
        .controller
        .replica()
        .read(|state| state.host(id).is_some_and(|host| host.agent.as_ref().is_some_and(|facts| facts.cannot_refuse)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disk_that_hangs_holds_up_no_heartbeat_and_the_refusal_waits_for_it() {
    let (world, target, disk) = refused_on(|disk| disk.platter().hangs = true).await;
    world.wait("the refusal waits for the disk", |_| disk.platter().waiting > 0).await;
    let begun = SystemClock.now();
    let mut silence = Millis::ZERO;
    world
        .wait("the disk hangs for a while", |world| {
            silence = silence.max(world.controller.sight(&target).heartbeat_age.unwrap());
            SystemClock.now() - begun > A_WHILE
        })
        .await;

    assert!(silence < A_WHILE - Millis(3000), "no heartbeat for {silence}");
    assert_eq!(world.lab.truth()[&target].orders, 0, "it is not fenced");
    assert_eq!(world.lab.homes(VM), [], "nobody was told that it does not run there");
    world.wait("the controllers know", |world| cannot_refuse(world, &target)).await;
    disk.go_on();
    world.wait("it starts elsewhere", |world| world.lab.homes(VM) == [host("c")]).await;
    let kept: Vec<InstanceId> = disk.platter().kept.iter().map(|refused| refused.instance).collect();
    assert_eq!(kept, [VM]);
    world.wait("the controllers know better", |world| !cannot_refuse(world, &target)).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refusal_that_does_not_fit_on_the_disk_is_told_and_answered_once_it_fits() {
    let (world, target, disk) = refused_on(|disk| disk.platter().is_full = true).await;
    world.wait("the controllers know", |world| cannot_refuse(world, &target)).await;
    assert_eq!(world.lab.homes(VM), [], "a refusal that may be forgotten is none");
    disk.platter().is_full = false;
    world.wait("it starts elsewhere", |world| world.lab.homes(VM) == [host("c")]).await;
    assert_eq!(disk.platter().kept.len(), 1);
    world.wait("the controllers know better", |world| !cannot_refuse(world, &target)).await;
    world.end().await;
}
