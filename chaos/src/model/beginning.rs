//! The world in which the model begins.

use quorumfence_machine::Change;

use super::action::{Action, Seen};
use super::agents::Agents;
use super::log::LogNumber;
use super::world::{Boot, Controller, ControllerNumber, Host, HostNumber, World};
use super::{Beginning, Bounds, Protocol, action, step};

/// One thing that happened before the model begins.
enum Before {
    /// This.
    Did(Action),
    /// The controller applied what is committed, and its decision was committed.
    Decided(ControllerNumber, fn(&Change) -> bool),
    /// The controller applied what is committed, and got a permit.
    Permitted(ControllerNumber),
}

/// Returns the world after the founding.
pub(super) fn all_up(bounds: &Bounds, agents: &Agents) -> World {
    let host = |number: u8| Host {
        on: true,
        isolated: false,
        boot: Boot(0),
        agent: agents.fresh(HostNumber(number), Boot(0)),
        starting: None,
        runs: number == 0,
    };
    let controller = |number: u8| match number {
        0 => Controller::leading(LogNumber(0)),
        _ => Controller::following(),
    };
    World {
        log: LogNumber(0),
        now: 0,
        faults: 0,
        leader: ControllerNumber(0),
        controllers: (0..bounds.controllers).map(controller).collect(),
        hosts: (0..bounds.hosts).map(host).collect(),
        orders: Vec::new(),
        breach: None,
    }
}

/// Returns the world after what came before.
pub(super) fn play(protocol: &Protocol, mut world: World) -> World {
    for before in script(protocol.bounds.beginning) {
        let action = match before {
            Before::Did(action) => action,
            Before::Decided(controller, is_meant) => find(
                protocol,
                &mut world,
                controller,
                |action| matches!(action, Action::Propose(_, change) if is_meant(&protocol.log.change(*change))),
            ),
            Before::Permitted(controller) => {
                find(protocol, &mut world, controller, |action| matches!(action, Action::Grant(..)))
            }
        };
        world = step::step(protocol, &world, action).expect("nothing stands against what came before");
    }
    World { faults: 0, ..world }
}

fn script(beginning: Beginning) -> Vec<Before> {
    let [first, second] = [0, 1].map(ControllerNumber);
    let is_decision = |change: &Change| matches!(change, Change::FenceDecide { .. });
    let is_admission = |change: &Change| matches!(change, Change::HostAdmit { .. });
    let lost = |host| [Action::CutPower(host), Action::Condemn(host)].map(Before::Did);
    let read = |controller| Before::Did(Action::ReadOff(controller));
    let proven = |controller| Before::Did(Action::Result(controller, Seen::Off));
    match beginning {
        Beginning::AllUp => Vec::new(),
        Beginning::FirstFenced => {
            let fence = [Before::Decided(first, is_decision), Before::Permitted(first), read(first), proven(first)];
            let known = [Before::Did(Action::CatchUp(first))];
            lost(HostNumber(0)).into_iter().chain(fence).chain(known).collect()
        }
        Beginning::LateResult => {
            let host = HostNumber(1);
            let deposed = Before::Did(Action::Elect(second));
            let fence = [Before::Decided(first, is_decision), Before::Permitted(first), read(first), deposed];
            let again = [Before::Permitted(second), read(second), proven(second)];
            let back = [Action::PowerOn(host), Action::Report(host), Action::Hear(host)];
            let quiet = [Action::TimePasses, Action::TimePasses].map(Before::Did);
            let admitted = [Before::Decided(second, is_admission), Before::Did(Action::CatchUp(second))];
            let back = back.map(Before::Did).into_iter().chain(quiet).chain(admitted);
            lost(host).into_iter().chain(fence).chain(again).chain(back).collect()
        }
    }
}

/// Lets a controller apply what is committed, and finds what it can then do.
fn find(
    protocol: &Protocol,
    world: &mut World,
    controller: ControllerNumber,
    is_meant: impl Fn(&Action) -> bool,
) -> Action {
    *world = step::step(protocol, world, Action::CatchUp(controller)).expect("applying is always possible");
    let mut actions = Vec::new();
    action::all(protocol, world, &mut actions);
    let mine = actions.into_iter().find(|action| is_meant(action));
    mine.expect("what came before was possible")
}
