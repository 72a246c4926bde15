//! What one thing that happens makes of the world.

use quorumfence_machine::Token;

use super::Protocol;
use super::action::{Action, Seen};
use super::agents::{Happening, Held, Reaction};
use super::facts::{Facts, FenceOf};
use super::guard::Guard;
use super::log::{Entry, LogNumber};
use super::world::{Boot, Breach, Controller, ControllerNumber, HostNumber, Order, Progress, Task, World};

/// Returns what an action makes of the world; `None` when the machine rejects it or the log is full.
pub(super) fn step(protocol: &Protocol, before: &World, action: Action) -> Option<World> {
    let mut world = before.clone();
    if let Some(entry) = entry(protocol, before, action) {
        world.log = protocol.commit(before, entry)?;
        if before.controller(before.leader).knows != before.log {
            catch_up(protocol, &mut world, before.leader, before.log);
        }
    }
    match action {
        Action::Elect(controller) => {
            world.faults += 1;
            world.leader = controller;
            *world.controller_mut(controller) = Controller::leading(before.log);
        }
        Action::Restart(controller) => {
            world.faults += 1;
            *world.controller_mut(controller) = Controller::leading(before.log);
        }
        Action::Learn(controller) => *world.controller_mut(controller) = Controller::following(),
        Action::CatchUp(controller) => catch_up(protocol, &mut world, controller, before.log),
        Action::Isolate(host) => {
            world.faults += 1;
            world.host_mut(host).isolated = true;
        }
        Action::Heal(host) => world.host_mut(host).isolated = false,
        Action::CutPower(host) => {
            world.faults += 1;
            cut_power(protocol, &mut world, host);
        }
        Action::PowerOn(host) => power_on(protocol, &mut world, host),
        Action::RestartAgent(host) => {
            world.faults += 1;
            let agent = protocol.restarted(host, world.host(host));
            world.host_mut(host).agent = agent;
            // Its connections end with it, and with them the orders on their way.
            world.orders.retain(|order| !matches!(order, Order::Start { host: to, .. } if *to == host));
        }
        Action::TimePasses => world.now += 1,
        Action::Condemn(_) | Action::Hear(_) | Action::Report(_) | Action::Propose(..) => {}
        Action::Grant(controller, token) | Action::GoAhead(controller, token) => {
            begin_task(protocol, &mut world, before, action, controller, token);
        }
        Action::SendOff(controller) => {
            let task = world.controller_mut(controller).task.as_mut()?;
            task.progress = Progress::Sent;
            let order = task.off();
            send(&mut world, order);
        }
        Action::ReadOff(controller) => world.controller_mut(controller).task.as_mut()?.progress = Progress::OffRead,
        Action::Result(controller, seen) => {
            world.faults += u8::from(seen == Seen::Unknown);
            world.controller_mut(controller).task = None;
        }
        Action::SendStart(controller) => {
            let start = protocol.log.node(before.controller(controller).knows).facts.start_work?;
            let (host, boot, token) = (start.host, start.boot, start.token);
            send(&mut world, Order::Start { host, boot, token, from: controller });
        }
        Action::Settle(controller) => world.controller_mut(controller).answer = None,
        Action::Arrive(order) => arrive(protocol, &mut world, order),
        Action::Lose(order) => {
            world.faults += 1;
            world.orders.retain(|other| *other != order);
        }
        Action::Begin(host) => carry(protocol, &mut world, host, true),
        Action::Refuse(host) => {
            world.faults += 1;
            carry(protocol, &mut world, host, false);
        }
    }
    Some(world)
}

/// Returns the entry that an action puts into the log.
pub(super) fn entry(protocol: &Protocol, world: &World, action: Action) -> Option<Entry> {
    match action {
        Action::Condemn(host) => Some(Entry::Condemned(host)),
        Action::Hear(host) => Some(Entry::Heard(host, world.host(host).boot)),
        Action::Report(host) => Some(Entry::Reported(host, world.host(host).boot, world.host(host).runs)),
        Action::Propose(controller, change) => Some(Entry::Decided(controller, change)),
        Action::Grant(controller, token) => {
            let level = fence_of(protocol, world.controller(controller).knows, token)?.level;
            Some(Entry::Granted { token, executor: controller, level })
        }
        Action::Result(controller, seen) => {
            let task = world.controller(controller).task?;
            let off = match seen {
                Seen::Off | Seen::UnknownTakenForOff | Seen::AcceptedTakenForOff => true,
                Seen::Unknown => false,
            };
            Some(Entry::Result { token: task.token, permit: task.permit?, off })
        }
        Action::Settle(controller) => Some(Entry::Answered(world.controller(controller).answer?)),
        Action::Elect(_)
        | Action::Restart(_)
        | Action::Learn(_)
        | Action::CatchUp(_)
        | Action::Isolate(_)
        | Action::Heal(_)
        | Action::CutPower(_)
        | Action::PowerOn(_)
        | Action::RestartAgent(_)
        | Action::TimePasses
        | Action::GoAhead(..)
        | Action::SendOff(_)
        | Action::ReadOff(_)
        | Action::SendStart(_)
        | Action::Arrive(_)
        | Action::Lose(_)
        | Action::Begin(_)
        | Action::Refuse(_) => None,
    }
}

impl Controller {
    pub(super) fn leading(knows: LogNumber) -> Self {
        Self { knows, believes: true, task: None, answer: None }
    }

    pub(super) fn following() -> Self {
        Self { knows: LogNumber(0), believes: false, task: None, answer: None }
    }
}

/// What is not wanted any more is dropped, as `Tasks::reconcile` does.
fn catch_up(protocol: &Protocol, world: &mut World, controller: ControllerNumber, to: LogNumber) {
    let node = protocol.log.node(to);
    let row = world.controller_mut(controller);
    row.knows = to;
    row.task = row.task.filter(|task| node.facts.fence_work.iter().any(|fence| fence.token == task.token));
    row.answer = row.answer.filter(|answer| node.facts.start_work.is_some_and(|start| start.token == answer.token));
}

fn cut_power(protocol: &Protocol, world: &mut World, host: HostNumber) {
    let boot = world.host(host).boot;
    let fresh = protocol.agents.fresh(host, boot);
    let row = world.host_mut(host);
    row.on = false;
    row.runs = false;
    row.starting = None;
    row.agent = fresh;
}

fn power_on(protocol: &Protocol, world: &mut World, host: HostNumber) {
    let boot = Boot(world.host(host).boot.0 + 1);
    let starts_itself = protocol.lacks(Guard::NoAutostart) && protocol.log.node(world.log).facts.owner == host;
    let fresh = protocol.agents.fresh(host, boot);
    let row = world.host_mut(host);
    row.on = true;
    row.boot = boot;
    row.agent = fresh;
    row.runs = starts_itself;
}

fn begin_task(
    protocol: &Protocol,
    world: &mut World,
    before: &World,
    action: Action,
    controller: ControllerNumber,
    token: Token,
) {
    let Some(fence) = fence_of(protocol, before.controller(controller).knows, token) else { return };
    let (permit, until) = if matches!(action, Action::Grant(..)) {
        (fence_of(protocol, world.log, token).and_then(|fence| fence.permit), before.now + 1)
    } else {
        (None, u8::MAX)
    };
    let progress = Progress::Permitted;
    world.controller_mut(controller).task = Some(Task { token, host: fence.host, permit, until, progress });
}

fn fence_of(protocol: &Protocol, knows: LogNumber, token: Token) -> Option<FenceOf> {
    protocol.log.node(knows).facts.fence_work.iter().find(|fence| fence.token == token).copied()
}

fn send(world: &mut World, order: Order) {
    world.orders.push(order);
    world.orders.sort_unstable();
}

fn arrive(protocol: &Protocol, world: &mut World, order: Order) {
    if let Some(place) = world.orders.iter().position(|other| *other == order) {
        world.orders.remove(place);
    }
    let node = protocol.log.node(world.log);
    match order {
        Order::Off { host, token, .. } => {
            if node.facts.host(host).standing.token() != Some(token) {
                world.breach = Some(Breach::StaleOff);
            }
            if world.host(host).on {
                cut_power(protocol, world, host);
            }
        }
        Order::Start { host, boot, token, from } => {
            if !world.host(host).on {
                return;
            }
            let held = Ordered { token, boot, from };
            ordered(protocol, world, &node.facts, host, held);
        }
    }
}

struct Ordered {
    token: Token,
    boot: Boot,
    from: ControllerNumber,
}

fn ordered(protocol: &Protocol, world: &mut World, facts: &Facts, host: HostNumber, order: Ordered) {
    let Ordered { token, mut boot, from } = order;
    let mut held = match facts.assigned {
        Some(assigned) => Some(Held { host: assigned.host, token: assigned.token, boot: Some(assigned.boot) }),
        None if facts.rests_on.is_some() => None,
        None => Some(Held { host: facts.owner, token: facts.owned_under, boot: None }),
    };
    let row = world.host_mut(host);
    if protocol.lacks(Guard::StartNamesItsBoot) {
        boot = row.boot;
        held = held.map(|held| Held { boot: held.boot.map(|_| row.boot), ..held });
    }
    if protocol.lacks(Guard::RefusalIsFinal) && row.starting.is_none() {
        row.agent = protocol.agents.fresh(host, row.boot);
    }
    let (agent, reaction) = protocol.agents.handle(row.agent, Happening::Ordered { from, token, boot, held });
    row.agent = agent;
    if reaction.carries {
        row.starting = Some(token);
    }
    answer(world, host, &reaction);
}

/// The hypervisor ends a start. The instance begins to run, or is refused.
fn carry(protocol: &Protocol, world: &mut World, host: HostNumber, runs: bool) {
    let Some(token) = world.host_mut(host).starting.take() else { return };
    if runs {
        let rests_on = protocol.log.node(world.log).facts.rests_on;
        if rests_on.is_some_and(|(fenced, boot)| world.lives(fenced, boot)) {
            world.breach = Some(Breach::EarlyStart);
        }
        world.host_mut(host).runs = true;
    }
    let row = world.host_mut(host);
    let (agent, reaction) = protocol.agents.handle(row.agent, Happening::Carried { token, runs });
    row.agent = agent;
    answer(world, host, &reaction);
}

/// Answers arrive at once or never; that they enter the log late is the controller's part.
fn answer(world: &mut World, host: HostNumber, reaction: &Reaction) {
    if world.host(host).isolated {
        return;
    }
    for (controller, answer) in &reaction.answers {
        let row = world.controller_mut(*controller);
        if row.believes && row.answer.is_none_or(|older| older.token < answer.token) {
            row.answer = Some(*answer);
        }
    }
}
