//! Storms: faults that belong together, because real ones do.

use quorumfence_machine::{ControllerId, HostId, Millis};

use super::{Sight, controller};
use crate::chance::Chance;
use crate::fault::{Blow, BmcTrouble, Deed, DiskTrouble, Fault, HostBlow, Place, Which};

type Storm = Vec<(Millis, Fault)>;

/// Draws one storm: faults and how long after its beginning each comes.
pub(super) fn draw(chance: &mut Chance, sight: &Sight) -> Storm {
    let Some(host) = chance.pick(&sight.hosts).cloned() else { return Storm::new() };
    match chance.below(12) {
        0 => cut_off_with_a_bad_bmc(chance, host),
        1 => leader_stands_still_in_a_fence(chance, sight, host),
        2 => everybody_loses_power_in_a_fence(chance, host),
        3 => rack(chance, sight),
        4 => targets_die(chance, sight),
        5 => whole_site(chance, sight),
        7 => goes_off_in_maintenance(chance, host),
        8 => syncs_fail_and_everybody_loses_power(chance, sight),
        6 => leader_cut_off_and_everybody_loses_power(chance, sight),
        9 => agents_network_fails(chance, sight),
        10 => leader_does_not_reach_a_bmc(chance, sight, host),
        _ => returns_while_an_order_is_late(chance, host),
    }
}

fn cut_off_with_a_bad_bmc(chance: &mut Chance, host: HostId) -> Storm {
    let late = BmcTrouble::Late(chance.time(Millis(1000), Millis(25_000)));
    let troubles = [BmcTrouble::Silent, BmcTrouble::Ignores, BmcTrouble::Stale, BmcTrouble::LosesAnswer, late];
    let trouble = chance.pick(&troubles).copied().unwrap_or(late);
    let end = chance.time(Millis(5000), Millis(40_000));
    vec![
        (Millis::ZERO, Fault::Bmc(host.clone(), trouble)),
        (Millis::ZERO, Fault::Isolate(Place::Host(host.clone()))),
        (end, Fault::Bmc(host.clone(), BmcTrouble::Works)),
        (end + chance.time(Millis::ZERO, Millis(10_000)), Fault::Rejoin(Place::Host(host))),
    ]
}

fn leader_stands_still_in_a_fence(chance: &mut Chance, sight: &Sight, host: HostId) -> Storm {
    let Some(leader) = sight.leader else { return Storm::new() };
    let still = chance.time(Millis(10_000), Millis(60_000));
    let after = chance.time(Millis(300), Millis(4000));
    vec![
        (Millis::ZERO, Fault::Isolate(Place::Host(host.clone()))),
        (after, Fault::Controller(Which::One(leader), Blow::Pause(still))),
        (after + still, Fault::Rejoin(Place::Host(host))),
    ]
}

fn everybody_loses_power_in_a_fence(chance: &mut Chance, host: HostId) -> Storm {
    let after = chance.time(Millis(300), Millis(4000));
    let start = after + chance.time(Millis(100), Millis(8000));
    vec![
        (Millis::ZERO, Fault::Host(host, HostBlow::PowerCut)),
        (after, Fault::Controller(Which::All, Blow::PowerCut)),
        (start, Fault::Controller(Which::All, Blow::Start)),
    ]
}

fn rack(chance: &mut Chance, sight: &Sight) -> Storm {
    let count = usize::try_from(chance.between(2, sight.hosts.len().max(2) as u64)).unwrap_or(2);
    let lost = sight.hosts.iter().take(count).cloned();
    let mut storm: Storm = lost.map(|host| (Millis::ZERO, Fault::Host(host, HostBlow::PowerCut))).collect();
    if let Some(id) = controller(chance, sight).filter(|_| chance.percent(50)) {
        storm.push((Millis::ZERO, Fault::Controller(Which::One(id), Blow::PowerCut)));
        storm.push((chance.time(Millis(500), Millis(10_000)), Fault::Controller(Which::One(id), Blow::Start)));
    }
    storm
}

/// One host dies, then the hosts that take its instances.
fn targets_die(chance: &mut Chance, sight: &Sight) -> Storm {
    let mut at = Millis::ZERO;
    let mut storm = Storm::new();
    for host in sight.hosts.iter().take(3) {
        storm.push((at, Fault::Host(host.clone(), HostBlow::PowerCut)));
        at = at + chance.time(Millis(200), Millis(4000));
    }
    storm
}

/// The leader has lost its line to the BMC of a host that dies, and sometimes another controller too.
fn leader_does_not_reach_a_bmc(chance: &mut Chance, sight: &Sight, host: HostId) -> Storm {
    let Some(leader) = sight.leader else { return Storm::new() };
    let other = controller(chance, sight).filter(|other| *other != leader);
    let end = chance.time(Millis(20_000), Millis(70_000));
    let bmc = Place::Bmc(host.clone());
    let line = |id: ControllerId| (Place::Controller(id), bmc.clone());
    let lines: Vec<(Place, Place)> = std::iter::once(leader).chain(other).map(line).collect();
    let cut = |(from, to): &(Place, Place)| (Millis::ZERO, Fault::Cut { from: from.clone(), to: to.clone() });
    let mut storm: Storm = lines.iter().map(cut).collect();
    storm.push((Millis::ZERO, Fault::Isolate(Place::Host(host.clone()))));
    storm.extend(lines.into_iter().map(|(from, to)| (end, Fault::Join { from, to })));
    storm.push((end, Fault::Rejoin(Place::Host(host))));
    storm
}

/// The controllers lose the network that the agents use; every host lives.
fn agents_network_fails(chance: &mut Chance, sight: &Sight) -> Storm {
    let end = chance.time(Millis(500), Millis(25_000));
    let places = || sight.hosts.iter().map(|host| Place::Host(host.clone()));
    let cuts = places().map(|place| (Millis::ZERO, Fault::Isolate(place)));
    cuts.chain(places().map(|place| (end, Fault::Rejoin(place)))).collect()
}

/// Every host loses its power at once: nobody is left to take an instance.
fn whole_site(chance: &mut Chance, sight: &Sight) -> Storm {
    let moment = |chance: &mut Chance| chance.time(Millis::ZERO, Millis(300));
    sight.hosts.iter().map(|host| (moment(chance), Fault::Host(host.clone(), HostBlow::PowerCut))).collect()
}

/// The kernel has dropped what it could not sync. Whoever goes on as if nothing were amiss finds out when the power goes.
fn syncs_fail_and_everybody_loses_power(chance: &mut Chance, sight: &Sight) -> Storm {
    let mut storm = Storm::new();
    for id in &sight.controllers {
        if chance.percent(60) {
            let failed = chance.time(Millis::ZERO, Millis(3000));
            storm.push((failed, Fault::Disk(*id, DiskTrouble::FailSync)));
            storm.push((
                failed + chance.time(Millis(500), Millis(3000)),
                Fault::Controller(Which::One(*id), Blow::Start),
            ));
        }
    }
    let cut = chance.time(Millis(7000), Millis(20_000));
    storm.push((cut, Fault::Controller(Which::All, Blow::PowerCut)));
    storm.push((cut + chance.time(Millis(100), Millis(5000)), Fault::Controller(Which::All, Blow::Start)));
    storm
}

/// Somebody takes a host into maintenance, works on it with the power off, and puts it back.
fn goes_off_in_maintenance(chance: &mut Chance, host: HostId) -> Storm {
    let off = chance.time(Millis(300), Millis(2000));
    let on = off + chance.time(Millis(8000), Millis(20_000));
    vec![
        (Millis::ZERO, Fault::Operator(Deed::StartMaintenance(host.clone()))),
        (off, Fault::Host(host.clone(), HostBlow::PowerCut)),
        (on, Fault::Host(host.clone(), HostBlow::PowerOn)),
        (on + chance.time(Millis(1000), Millis(9000)), Fault::Operator(Deed::EndMaintenance(host))),
    ]
}

/// What the leader has not synced yet and what its followers have may differ, and then all of them forget.
fn leader_cut_off_and_everybody_loses_power(chance: &mut Chance, sight: &Sight) -> Storm {
    let Some(leader) = sight.leader else { return Storm::new() };
    let place = Place::Controller(leader);
    let slow = chance.time(Millis(50), Millis(2000));
    let cut = chance.time(Millis(200), Millis(4000));
    let power = cut + chance.time(Millis::ZERO, Millis(5000));
    let mut storm: Storm = sight
        .controllers
        .iter()
        .filter(|_| chance.percent(60))
        .map(|id| (Millis::ZERO, Fault::Disk(*id, DiskTrouble::Slow(slow))))
        .collect();
    storm.extend([
        (cut, Fault::Isolate(place.clone())),
        (power, Fault::Controller(Which::All, Blow::PowerCut)),
        (power + chance.time(Millis(100), Millis(5000)), Fault::Controller(Which::All, Blow::Start)),
        (power + chance.time(Millis(100), Millis(9000)), Fault::Rejoin(place)),
    ]);
    storm
}

/// The BMC obeys long after the host was cut off; somebody switches the host on as soon as it is off.
fn returns_while_an_order_is_late(chance: &mut Chance, host: HostId) -> Storm {
    let late = chance.time(Millis(4000), Millis(25_000));
    vec![
        (Millis::ZERO, Fault::Bmc(host.clone(), BmcTrouble::Late(late))),
        (Millis::ZERO, Fault::Isolate(Place::Host(host.clone()))),
        (Millis(4000), Fault::Host(host.clone(), HostBlow::Reboot)),
        (Millis(5000), Fault::Rejoin(Place::Host(host.clone()))),
        (late + Millis(15_000), Fault::Bmc(host, BmcTrouble::Works)),
    ]
}
