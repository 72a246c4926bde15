//! The whole way, on a real database: from a silent host to its instance running elsewhere.

mod bench;
mod refusals;

use quorumfence_machine::{Event, HostState, InstanceId, Proof};

use self::bench::{LATE, World};
use super::{Kind, Moment};
use crate::sample::{boot, host};

const VM: InstanceId = InstanceId([9; 16]);

fn kinds(moments: &[Moment]) -> Vec<&Kind> {
    moments.iter().map(|moment| &moment.kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_without_power_is_fenced_and_its_instance_starts_elsewhere() {
    let mut world = World::with(&["a", "b", "c"], &[VM]).await;
    world.lab.cut(&host("a"));
    world.silence(&host("a")).await;
    world.wait("the instance has another home", |world| !world.lab.homes(VM).is_empty()).await;

    assert_eq!(world.lab.homes(VM), [host("b")]);
    assert_eq!(world.lab.truth()[&host("a")].orders, 0, "it was found off");
    world
        .wait("the start is in the log", |world| {
            world.controller.replica().read(|state| state.instance(&VM).is_some_and(|row| row.recovery.is_none()))
        })
        .await;
    let moments = world.controller.moments_from(0);
    let proofs = moments.iter().filter_map(|moment| {
        let Kind::Committed { event: Event::HostFenced { proof, .. }, .. } = &moment.kind else { return None };
        Some(proof.clone())
    });
    assert_eq!(proofs.collect::<Vec<_>>(), [Proof::PowerOffVerified { level: 0, ordered: false }]);
    let sent = moments.iter().find_map(|moment| {
        let Kind::StartOrdered { instance, to, since_proof } = &moment.kind else { return None };
        Some((moment.host.clone(), *instance, to.clone(), *since_proof))
    });
    let (of, instance, to, since_proof) = sent.expect("the order was noted");
    assert_eq!((of, instance, to), (host("a"), VM, host("b")));
    assert!(since_proof.expect("the proof was noted") < LATE);
    assert!(world.controller.report().borrow().hosts.contains_key(&host("a")), "it waits for a new boot");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_host_that_still_runs_is_switched_off_before_anything_starts() {
    let mut world = World::with(&["a", "b", "c"], &[VM]).await;
    world.silence(&host("a")).await;
    let mut homes_at_once = 0;
    world
        .wait("the instance moved", |world| {
            let homes = world.lab.homes(VM);
            homes_at_once = homes_at_once.max(homes.len());
            homes == [host("b")]
        })
        .await;

    assert_eq!(homes_at_once, 1);
    assert_eq!(world.lab.truth()[&host("a")].orders, 1);
    let moments = world.controller.moments_from(0);
    let device = "bmc-a:623".to_owned();
    let wire: Vec<Kind> = kinds(&moments)
        .into_iter()
        .filter(|kind| {
            matches!(
                kind,
                Kind::OffSent { .. } | Kind::OffAccepted { .. } | Kind::OffRead { .. } | Kind::OffConfirmed { .. }
            )
        })
        .cloned()
        .collect();
    let Some(Kind::OffSent { since_lost, .. }) = wire.first() else { panic!("off was not sent: {wire:?}") };
    assert!(since_lost.is_some_and(|added| added < LATE));
    assert_eq!(
        wire,
        [
            Kind::OffSent { device: device.clone(), since_lost: *since_lost },
            Kind::OffAccepted { device: device.clone() },
            Kind::OffRead { device: device.clone() },
            Kind::OffConfirmed { device },
        ]
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_whose_bmc_is_silent_keeps_its_instance() {
    let mut world = World::with(&["a", "b", "c"], &[VM]).await;
    world.lab.truth().get_mut(&host("a")).unwrap().bmc_is_dead = true;
    world.silence(&host("a")).await;
    world
        .wait("an attempt failed", |world| {
            let failed = |moment: &Moment| {
                matches!(moment.kind, Kind::Committed { event: Event::FenceAttemptFailed { .. }, .. })
            };
            world.controller.moments_from(0).iter().any(failed)
        })
        .await;

    assert_eq!(world.lab.homes(VM), [host("a")], "silence of a BMC is no proof");
    world.lab.truth().get_mut(&host("a")).unwrap().bmc_is_dead = false;
    world.wait("a later attempt proves it off", |world| world.lab.homes(VM) == [host("b")]).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host_that_reboots_is_fenced_by_its_new_boot_and_returns() {
    let mut world = World::with(&["a", "b", "c"], &[VM]).await;
    world.lab.truth().get_mut(&host("a")).unwrap().running.clear();
    world.silence(&host("a")).await;
    world.start_agent(&host("a"), boot(77));
    world.wait("the instance has another home", |world| world.lab.homes(VM) == [host("b")]).await;
    world
        .wait("the host is admitted again", |world| {
            let row = world.controller.replica().read(|state| state.host(&host("a")).map(|host| host.state));
            row == Some(HostState::Up { boot: boot(77) })
        })
        .await;
    assert_eq!(world.lab.truth()[&host("a")].orders, 0, "a new boot needs no power action");
    let glimpse = world.controller.sight(&host("a"));
    assert!(glimpse.attending && glimpse.heartbeat_age.is_some_and(|age| age < LATE));
    world
        .wait("the agent knows", |world| {
            let status = world.agents[&host("a")].status();
            status.admitted && status.lease_left > quorumfence_machine::Millis::ZERO
        })
        .await;
    world.end().await;
}
