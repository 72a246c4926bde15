//! What can happen next.

use quorumfence_machine::{LogIndex, Token};

use super::Protocol;
use super::facts::{Facts, Standing};
use super::guard::Guard;
use super::log::{ChangeNumber, is_gone_at};
use super::world::{ControllerNumber, HostNumber, Order, Progress, Task, World};

/// Orders on their way at once.
const ORDERS_MAX: usize = 2;

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// A controller is elected. The last leader does not know it yet.
    Elect(ControllerNumber),
    /// The leader restarts and is elected again: what it was about to do is forgotten.
    Restart(ControllerNumber),
    /// A controller learns that it does not lead any more, and drops what it was doing.
    Learn(ControllerNumber),
    /// A controller applies what is committed, and ends what is not wanted any more.
    CatchUp(ControllerNumber),
    /// A host's agent and the controllers stop hearing each other.
    Isolate(HostNumber),
    /// They hear each other again.
    Heal(HostNumber),
    /// A host loses its power by itself.
    CutPower(HostNumber),
    /// Somebody switches a host on.
    PowerOn(HostNumber),
    /// A host's agent restarts, and forgets.
    RestartAgent(HostNumber),
    /// A permit's life passes. Orders whose late delivery ends by then have arrived or are lost.
    TimePasses,
    /// The controllers vote a silent host unreachable.
    Condemn(HostNumber),
    /// The controllers vote the present boot of a host alive.
    Hear(HostNumber),
    /// An agent's report enters the log.
    Report(HostNumber),
    /// What a controller decided, on what it knows, enters the log.
    Propose(ControllerNumber, ChangeNumber),
    /// A permit is granted.
    Grant(ControllerNumber, Token),
    /// A controller takes up a fence without asking for a permit.
    GoAhead(ControllerNumber, Token),
    /// An executor orders off.
    SendOff(ControllerNumber),
    /// An executor reads Off twice, in two sessions.
    ReadOff(ControllerNumber),
    /// An executor's result enters the log.
    Result(ControllerNumber, Seen),
    /// A leader orders a start.
    SendStart(ControllerNumber),
    /// An agent's answer enters the log.
    Settle(ControllerNumber),
    /// An order arrives.
    Arrive(Order),
    /// An order is lost.
    Lose(Order),
    /// A hypervisor starts the instance.
    Begin(HostNumber),
    /// A hypervisor refuses to.
    Refuse(HostNumber),
}

/// What an executor says that it saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen {
    /// Off, twice.
    Off,
    /// Nobody knows.
    Unknown,
    /// Nobody knows, and it says off.
    UnknownTakenForOff,
    /// The device accepted the order, and it says off.
    AcceptedTakenForOff,
}

/// Adds everything that can happen next. What the machine rejects is found out when it is tried.
pub(super) fn all(protocol: &Protocol, world: &World, out: &mut Vec<Action>) {
    let node = protocol.log.node(world.log);
    if world.faults < protocol.bounds.faults {
        faults(protocol, world, out);
    }
    for (host, _) in protocol.hosts(world) {
        of_host(protocol, world, &node.facts, host, out);
    }
    for order in &world.orders {
        let arrives = match *order {
            Order::Off { .. } => true,
            Order::Start { host, .. } => !world.host(host).isolated,
        };
        if arrives {
            out.push(Action::Arrive(*order));
        }
    }
    // Once every order of every permit has arrived or is lost, more time changes nothing.
    let may_be_late = node.facts.permits.iter().any(|(_, ends)| !is_gone_at(*ends, world.now));
    if world.now < protocol.bounds.steps && may_be_late && late_orders_are_gone(world, &node.facts) {
        out.push(Action::TimePasses);
    }
    for (controller, row) in protocol.controllers(world) {
        if row.believes {
            of_controller(protocol, world, controller, node.entries < protocol.entries_max, out);
        }
    }
}

fn faults(protocol: &Protocol, world: &World, out: &mut Vec<Action>) {
    for (controller, row) in protocol.controllers(world) {
        if controller != world.leader {
            out.push(Action::Elect(controller));
        } else if row.task.is_some() || row.answer.is_some() {
            out.push(Action::Restart(controller));
        }
    }
    for (host, row) in protocol.hosts(world) {
        if row.on && !row.isolated {
            out.push(Action::Isolate(host));
        }
        if row.on {
            out.push(Action::CutPower(host));
        }
        if row.starting.is_some() && !row.runs {
            out.push(Action::Refuse(host));
        }
        if protocol.bounds.agents_restart && row.on && row.agent != protocol.restarted(host, row) {
            out.push(Action::RestartAgent(host));
        }
    }
    out.extend(world.orders.iter().map(|order| Action::Lose(*order)));
}

fn of_host(protocol: &Protocol, world: &World, facts: &Facts, host: HostNumber, out: &mut Vec<Action>) {
    let (row, known) = (world.host(host), facts.host(host));
    if row.isolated {
        out.push(Action::Heal(host));
    }
    if !row.on && row.boot.0 + 1 < protocol.bounds.boots {
        out.push(Action::PowerOn(host));
    }
    if row.starting.is_some() {
        out.push(Action::Begin(host));
    }
    let is_heard = row.on && !row.isolated;
    let up = matches!(known.standing, Standing::Up(_));
    if !is_heard && up && !known.condemned {
        out.push(Action::Condemn(host));
    }
    // While a fence is decided nothing rests on who hears the host.
    let is_news = match known.standing {
        Standing::Up(boot) => boot != row.boot,
        Standing::Lost(_) | Standing::Fenced(..) => true,
        Standing::New | Standing::Fencing(..) => false,
    };
    // An agent reports when it connects. That heartbeats are voted on before matters only to a host that is up.
    let is_known = known.reported.is_some_and(|(boot, _)| boot == row.boot);
    if is_heard && is_news && (up || is_known) && known.heard != Some(row.boot) {
        out.push(Action::Hear(host));
    }
    if is_heard && (!is_known || up) && known.reported != Some((row.boot, row.runs)) {
        out.push(Action::Report(host));
    }
}

fn of_controller(
    protocol: &Protocol,
    world: &World,
    controller: ControllerNumber,
    has_room: bool,
    out: &mut Vec<Action>,
) {
    let row = world.controller(controller);
    if controller != world.leader {
        out.push(Action::Learn(controller));
    } else if row.knows != world.log {
        // What another leader sends would tell a deposed one that it is one.
        out.push(Action::CatchUp(controller));
    }
    let known = protocol.log.node(row.knows);
    let orders_fit = world.orders.len() < ORDERS_MAX;
    match row.task {
        None => {
            for fence in &known.facts.fence_work {
                if protocol.lacks(Guard::PermitFromTheLog) {
                    out.push(Action::GoAhead(controller, fence.token));
                }
                out.push(Action::Grant(controller, fence.token));
            }
        }
        Some(task) => of_task(protocol, world, controller, &task, orders_fit, out),
    }
    if let Some(start) = known.facts.start_work {
        let (host, boot, token) = (start.host, start.boot, start.token);
        let order = Order::Start { host, boot, token, from: controller };
        let is_answered = row.answer.is_some_and(|answer| answer.token == token);
        if orders_fit && !is_answered && !world.orders.contains(&order) {
            out.push(Action::SendStart(controller));
        }
    }
    if row.answer.is_some() {
        out.push(Action::Settle(controller));
    }
    if has_room {
        // A leader hears a host a moment longer than it lives: it may decide as if it heard all.
        let all = (1 << protocol.bounds.hosts) - 1;
        let heard = protocol.heard(world, &known.facts);
        let mut decided = protocol.log.decisions(row.knows, world.now, heard).to_vec();
        decided.extend(protocol.log.decisions(row.knows, world.now, all).iter());
        decided.sort_unstable();
        decided.dedup();
        out.extend(decided.into_iter().map(|change| Action::Propose(controller, change)));
    }
}

fn of_task(
    protocol: &Protocol,
    world: &World,
    controller: ControllerNumber,
    task: &Task,
    orders_fit: bool,
    out: &mut Vec<Action>,
) {
    let permitted = world.now < task.until || protocol.lacks(Guard::PermitBeforeOff);
    if task.progress == Progress::Permitted && permitted && orders_fit {
        out.push(Action::SendOff(controller));
    }
    if task.progress != Progress::OffRead && !world.host(task.host).on {
        out.push(Action::ReadOff(controller));
    }
    if task.permit.is_none() {
        return;
    }
    match task.progress {
        Progress::Permitted => {}
        Progress::Sent => {
            if world.faults < protocol.bounds.faults {
                out.push(Action::Result(controller, Seen::Unknown));
            }
            if protocol.lacks(Guard::TimeoutIsNoProof) {
                out.push(Action::Result(controller, Seen::UnknownTakenForOff));
            }
            if protocol.lacks(Guard::AcceptedIsNotOff) && world.orders.contains(&task.off()) {
                out.push(Action::Result(controller, Seen::AcceptedTakenForOff));
            }
        }
        Progress::OffRead => out.push(Action::Result(controller, Seen::Off)),
    }
}

/// A late order arrives within the late delivery after its permit's end or never: what the product assumes of its BMCs.
fn late_orders_are_gone(world: &World, facts: &Facts) -> bool {
    let ends = |permit: LogIndex| facts.permits.iter().find(|(at, _)| *at == permit).map(|(_, ends)| *ends);
    world.orders.iter().all(|order| match order {
        Order::Off { permit, .. } => permit.and_then(ends).is_some_and(|ends| !is_gone_at(ends, world.now + 1)),
        Order::Start { .. } => true,
    })
}

impl Task {
    /// Returns the order that it sends.
    pub(super) fn off(&self) -> Order {
        Order::Off { host: self.host, token: self.token, permit: self.permit }
    }
}
