//! A way through the model, in plain words.

use std::fmt;

use quorumfence_machine::Event;
use stateright::{Expectation, Model};

use super::action::{Action, Seen};
use super::facts::Standing;
use super::log::Entry;
use super::step;
use super::world::{Breach, INSTANCE, Order, World};
use super::{Protocol, Way};

/// A way through the model, in plain words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// How many things happen in it.
    pub steps: usize,
    text: String,
}

impl Story {
    pub(super) fn of(protocol: &Protocol, name: &'static str, way: Way) -> Self {
        let first = protocol.first.clone();
        let actions = shortened(protocol, name, &first, way.into_actions());
        let (mut world, mut text) = (first, String::new());
        for (number, action) in (1..).zip(&actions) {
            text.push_str(&format!("{number:>3}. {}\n", words(protocol, &world, *action)));
            let events = step::entry(protocol, &world, *action).map(|entry| events(protocol, &world, entry));
            for event in events.unwrap_or_default() {
                text.push_str(&format!("       log: {event}\n"));
            }
            world = step::step(protocol, &world, *action).expect("this way was taken a moment ago");
        }
        text.push_str(&ending(protocol, &world));
        Self { steps: actions.len(), text: text.replace(&INSTANCE.to_string(), "the instance") }
    }
}

/// Leaves out what is not needed to get there.
fn shortened(protocol: &Protocol, name: &'static str, first: &World, mut actions: Vec<Action>) -> Vec<Action> {
    let mut at = 0;
    while at < actions.len() {
        let mut fewer = actions.clone();
        fewer.remove(at);
        if leads_there(protocol, name, first, &fewer) {
            actions = fewer;
            at = 0;
        } else {
            at += 1;
        }
    }
    actions
}

fn leads_there(protocol: &Protocol, name: &'static str, first: &World, actions: &[Action]) -> bool {
    let mut world = first.clone();
    for action in actions {
        let mut possible = Vec::new();
        protocol.actions(&world, &mut possible);
        let next = possible.contains(action).then(|| step::step(protocol, &world, *action)).flatten();
        let Some(next) = next else { return false };
        world = next;
    }
    let property = protocol.property(name);
    let holds = (property.condition)(protocol, &world);
    match property.expectation {
        Expectation::Always => !holds,
        Expectation::Sometimes | Expectation::Eventually => holds,
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn events(protocol: &Protocol, world: &World, entry: Entry) -> Vec<Event> {
    let mut events = protocol.log.events(world.log, entry, world.now);
    // The verdict tells it all.
    events.retain(|event| !matches!(event, Event::VoteCast { .. }));
    events
}

fn words(protocol: &Protocol, world: &World, action: Action) -> String {
    let task_host =
        |controller| world.controller(controller).task.map_or("nobody".into(), |task| task.host.to_string());
    match action {
        Action::Elect(controller) => format!("{controller} is elected; {} does not know it yet", world.leader),
        Action::Restart(controller) => format!("{controller} restarts, is elected again and has forgotten its task"),
        Action::Learn(controller) => format!("{controller} learns that it does not lead any more"),
        Action::CatchUp(controller) => format!("{controller} applies what is committed"),
        Action::Isolate(host) => format!("{host} is cut off: it and the controllers do not hear each other"),
        Action::Heal(host) => format!("{host} and the controllers hear each other again"),
        Action::CutPower(host) => format!("{host} loses its power"),
        Action::PowerOn(host) => format!("{host} is switched on"),
        Action::RestartAgent(host) => format!("the agent of {host} restarts and forgets"),
        Action::TimePasses => "a permit's life passes".into(),
        Action::Condemn(host) => format!("the controllers vote {host} unreachable"),
        Action::Hear(host) => format!("the controllers vote {host} alive in {}", world.host(host).boot),
        Action::Report(host) => {
            let runs = if world.host(host).runs { "with the instance running" } else { "with nothing running" };
            format!("the agent of {host} reports {}, {runs}", world.host(host).boot)
        }
        Action::Propose(controller, _) => format!("{controller} decides, on what it knows"),
        Action::Grant(controller, token) => format!("{controller} asks for a permit for the fence {token}"),
        Action::GoAhead(controller, token) => format!("{controller} takes up the fence {token} without a permit"),
        Action::SendOff(controller) => {
            format!("{controller} orders the BMC of {} to switch off", task_host(controller))
        }
        Action::ReadOff(controller) => {
            format!("{controller} reads Off twice at the BMC of {}, in two sessions", task_host(controller))
        }
        Action::Result(controller, seen) => {
            let seen = match seen {
                Seen::Off => "off",
                Seen::Unknown => "that nobody answered in time",
                Seen::UnknownTakenForOff => "off, although nobody answered in time",
                Seen::AcceptedTakenForOff => "off, because the BMC accepted the order",
            };
            format!("{controller} reports {} {seen}", task_host(controller))
        }
        Action::SendStart(controller) => {
            let start = protocol.log.node(world.controller(controller).knows).facts.start_work;
            match start {
                Some(start) => {
                    format!("{controller} orders {} to start the instance, token {}", start.host, start.token)
                }
                None => format!("{controller} orders nothing"),
            }
        }
        Action::Settle(controller) => format!("{controller} reports the agent's answer"),
        Action::Arrive(Order::Off { host, token, .. }) => {
            let late = if world.host(host).on { "; it loses its power" } else { ", which is off" };
            format!("the off order of the fence {token} reaches {host}{late}")
        }
        Action::Arrive(Order::Start { host, token, .. }) => arrival(protocol, world, action, host, token),
        Action::Lose(Order::Off { host, .. }) => format!("the off order to {host} is lost"),
        Action::Lose(Order::Start { host, .. }) => format!("the start order to {host} is lost"),
        Action::Begin(host) => format!("the instance begins to run on {host}"),
        Action::Refuse(host) => format!("the hypervisor of {host} refuses to start the instance"),
    }
}

fn arrival(
    protocol: &Protocol,
    world: &World,
    action: Action,
    host: super::HostNumber,
    token: quorumfence_machine::Token,
) -> String {
    let after = step::step(protocol, world, action);
    let what = match (world.host(host).on, after.and_then(|after| after.host(host).starting)) {
        (false, _) => "which is off",
        (true, None) => "whose agent refuses it",
        (true, Some(_)) => "whose agent hands it to the hypervisor",
    };
    format!("the start order with token {token} reaches {host}, {what}")
}

/// The last world, as it is and as the log has it.
fn ending(protocol: &Protocol, world: &World) -> String {
    let node = protocol.log.node(world.log);
    let mut text = String::from("in the end\n");
    for (host, row) in protocol.hosts(world) {
        let power = if row.on { format!("on in {}", row.boot) } else { "off".into() };
        let runs = if row.runs { ", runs the instance" } else { "" };
        let standing = match node.facts.host(host).standing {
            Standing::New => "new".into(),
            Standing::Up(boot) => format!("up in {boot}"),
            Standing::Lost(boot) => format!("lost in {boot}"),
            Standing::Fencing(token, boot) => format!("being fenced, {boot}, token {token}"),
            Standing::Fenced(token, boot) => format!("fenced, {boot}, token {token}"),
        };
        text.push_str(&format!("     {host} is {power}{runs}; the log has it {standing}\n"));
    }
    let owner = node.facts.owner;
    let way = node.facts.assigned.map(|assigned| format!("; ordered to {}, token {}", assigned.host, assigned.token));
    text.push_str(&format!("     the log gives the instance to {owner}{}\n", way.unwrap_or_default()));
    match world.breach {
        Some(Breach::StaleOff) => text.push_str("     the off order was not of the fence that the host is in\n"),
        Some(Breach::EarlyStart) => {
            text.push_str("     the fenced boot still had power when the instance began to run\n")
        }
        None => {}
    }
    text
}
