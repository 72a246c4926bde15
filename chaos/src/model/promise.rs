//! What must hold in every state, and what must be reached in some, so that the first means something.

use stateright::Property;

use super::Protocol;
use super::facts::{Facts, Standing};
use super::world::{Boot, Breach, HostNumber, Order, World};

/// S1.
pub const ONE_HOME: &str = "S1: the instance runs on one host at most";
/// S2, its early form.
pub const FENCED_IS_DEAD: &str = "S2: what counts as fenced has no power, or another boot";
/// S2.
pub const NO_EARLY_START: &str = "S2: nothing starts elsewhere while the fenced boot has power";
/// S3 and S4.
pub const NO_STALE_OFF: &str = "S4: an off order reaches its host only while its own fence lasts";
/// `State::check`.
pub const CONSISTENT: &str = "the replicated state does not contradict itself";

/// The instance runs elsewhere, and the log knows it.
pub const RECOVERED: &str = "recovered elsewhere";
/// A fenced host was admitted again.
pub const RETURNED: &str = "a fenced host returned";
/// The instance moved, and its new host was fenced too, by another leader.
pub const SECOND_FAULT: &str = "a second host fenced under a second leader";
/// An off order is on its way to a host whose fence is proven already.
pub const LATE_OFF: &str = "an off order is late";
/// An off order is on its way to a host that has come back on.
pub const LATE_OFF_TO_NEW_BOOT: &str = "an off order is late and its host is on again";
/// A start order is on its way that the log does not want any more.
pub const LATE_START: &str = "a start order is late";
/// Two controllers hold a live permit for one fence.
pub const TWO_EXECUTORS: &str = "two executors act at once";
/// All hosts were fenced, and the instance runs again at home.
pub const TOTAL_LOSS: &str = "everything was lost and the instance runs again at home";
/// A host rebooted faster than anybody could miss it, and the instance runs again.
pub const REBOOT: &str = "a reboot that nobody missed was found out, and the instance runs again";

/// What must be reached in some state.
pub const GOALS: [&str; 9] =
    [RECOVERED, RETURNED, SECOND_FAULT, LATE_OFF, LATE_OFF_TO_NEW_BOOT, LATE_START, TWO_EXECUTORS, TOTAL_LOSS, REBOOT];

pub(super) fn promises() -> Vec<Property<Protocol>> {
    vec![
        Property::always(ONE_HOME, |_, world: &World| world.copies() <= 1),
        Property::always(FENCED_IS_DEAD, |protocol: &Protocol, world: &World| fenced_is_dead(protocol, world)),
        Property::always(NO_EARLY_START, |_, world: &World| world.breach != Some(Breach::EarlyStart)),
        Property::always(NO_STALE_OFF, |_, world: &World| world.breach != Some(Breach::StaleOff)),
        Property::always(CONSISTENT, |protocol: &Protocol, world: &World| {
            !protocol.log.node(world.log).facts.is_flawed
        }),
        Property::sometimes(RECOVERED, |protocol: &Protocol, world: &World| {
            settled_on(protocol, world).is_some_and(|host| host != HostNumber(0))
        }),
        Property::sometimes(RETURNED, |protocol: &Protocol, world: &World| {
            let facts = &protocol.log.node(world.log).facts;
            facts.hosts.iter().any(|host| matches!(host.standing, Standing::Up(Boot(1..))))
        }),
        Property::sometimes(SECOND_FAULT, |protocol: &Protocol, world: &World| {
            let facts = &protocol.log.node(world.log).facts;
            let other = facts.proven.iter().filter(|(host, _)| *host != HostNumber(0)).count();
            facts.owner != HostNumber(0) && other > 0 && facts.permit_holders.len() > 1
        }),
        Property::sometimes(LATE_OFF, |protocol: &Protocol, world: &World| late_off(protocol, world, |_| true)),
        Property::sometimes(LATE_OFF_TO_NEW_BOOT, |protocol: &Protocol, world: &World| {
            late_off(protocol, world, |host| world.host(host).on && world.host(host).boot > Boot(0))
        }),
        Property::sometimes(LATE_START, |protocol: &Protocol, world: &World| late_start(protocol, world)),
        Property::sometimes(TWO_EXECUTORS, |_, world: &World| {
            let live = world.controllers.iter().filter_map(|row| row.task).filter(|task| world.now < task.until);
            live.count() > 1
        }),
        Property::sometimes(TOTAL_LOSS, |protocol: &Protocol, world: &World| {
            protocol.log.node(world.log).past.total_loss && settled_on(protocol, world) == Some(HostNumber(0))
        }),
        Property::sometimes(REBOOT, |protocol: &Protocol, world: &World| {
            protocol.log.node(world.log).past.reboot && settled_on(protocol, world).is_some()
        }),
    ]
}

fn fenced_is_dead(protocol: &Protocol, world: &World) -> bool {
    let node = protocol.log.node(world.log);
    protocol.hosts(world).all(|(host, _)| match node.facts.host(host).standing {
        Standing::Fenced(_, boot) => !world.lives(host, boot),
        Standing::New | Standing::Up(_) | Standing::Lost(_) | Standing::Fencing(..) => true,
    })
}

/// Returns where the instance runs, when the log says the same and expects nothing else.
fn settled_on(protocol: &Protocol, world: &World) -> Option<HostNumber> {
    let node = protocol.log.node(world.log);
    let Facts { owner, rests_on: None, .. } = node.facts else { return None };
    (world.copies() == 1 && world.host(owner).runs).then_some(owner)
}

fn late_off(protocol: &Protocol, world: &World, of: impl Fn(HostNumber) -> bool) -> bool {
    let node = protocol.log.node(world.log);
    world.orders.iter().any(|order| match *order {
        Order::Off { host, .. } => matches!(node.facts.host(host).standing, Standing::Fenced(..)) && of(host),
        Order::Start { .. } => false,
    })
}

fn late_start(protocol: &Protocol, world: &World) -> bool {
    let node = protocol.log.node(world.log);
    world.orders.iter().any(|order| match *order {
        Order::Start { host, token, boot, .. } => {
            let unwanted = node.facts.assigned.is_none_or(|assigned| assigned.token != token);
            unwanted && world.host(host).on && world.host(host).boot != boot
        }
        Order::Off { .. } => false,
    })
}
