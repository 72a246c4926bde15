//! The hosts' agents: the machine's own [`Agent`], each distinct memory kept once and named by a number.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorumfence_machine::{
    Action, Agent, Answer as AgentAnswer, Holder, Holding, Input, InstanceState, Millis, Order, Outcome, Output,
    Refusal, Token,
};

use super::world::{Answer, Boot, ControllerNumber, HostNumber, INSTANCE};

/// The number of one distinct memory of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentNumber(u16);

/// What happens to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// A start order arrives. `held` says who holds the instance, as a quorum says the moment after.
    Ordered { from: ControllerNumber, token: Token, boot: Boot, held: Option<Held> },
    /// The hypervisor answers.
    Carried { token: Token, runs: bool },
}

/// Who holds the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    pub(super) host: HostNumber,
    pub(super) token: Token,
    pub(super) boot: Option<Boot>,
}

/// What an agent does about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Reaction {
    /// The hypervisor is to start the instance.
    pub(super) carries: bool,
    /// Answers that say something: an unknown outcome is asked for again.
    pub(super) answers: Vec<(ControllerNumber, Answer)>,
}

/// Every memory that an agent has had, and what each did about what.
#[derive(Debug, Default)]
pub(super) struct Agents {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    agents: Vec<(HostNumber, Agent)>,
    reactions: BTreeMap<(AgentNumber, Happening), (AgentNumber, Reaction)>,
}

impl Agents {
    /// Returns an agent that has just started.
    pub(super) fn fresh(&self, host: HostNumber, boot: Boot) -> AgentNumber {
        self.inner().number(host, Agent::new(host.id(), boot.id(host), Millis(10_000)))
    }

    /// Returns the agent that takes the place of another one in the same boot: it knows what that one refused.
    pub(super) fn successor(&self, number: AgentNumber, boot: Boot) -> AgentNumber {
        let mut inner = self.inner();
        let (host, gone) = &inner.agents[usize::from(number.0)];
        let (host, refusals) = (*host, gone.refusals());
        let mut agent = Agent::new(host.id(), boot.id(host), Millis(10_000));
        agent.recall(refusals);
        inner.number(host, agent)
    }

    pub(super) fn handle(&self, number: AgentNumber, happening: Happening) -> (AgentNumber, Reaction) {
        let mut inner = self.inner();
        if let Some(known) = inner.reactions.get(&(number, happening)) {
            return known.clone();
        }
        let (host, mut agent) = inner.agents[usize::from(number.0)].clone();
        let reaction = react(host, &mut agent, happening);
        let result = (inner.number(host, agent), reaction);
        inner.reactions.insert((number, happening), result.clone());
        result
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn number(&mut self, host: HostNumber, agent: Agent) -> AgentNumber {
        let known = self.agents.iter().position(|(_, known)| *known == agent);
        let place = known.unwrap_or_else(|| {
            self.agents.push((host, agent));
            self.agents.len() - 1
        });
        AgentNumber(u16::try_from(place).expect("an agent of this small world has few memories"))
    }
}

fn react(host: HostNumber, agent: &mut Agent, happening: Happening) -> Reaction {
    let mut reaction = Reaction::default();
    let input = match happening {
        Happening::Ordered { from, token, boot, .. } => {
            let action = Action::Start { definition: "<domain/>".into() };
            let order = Order { token, instance: INSTANCE, boot: boot.id(host), action };
            Input::Order { from: from.id(), order }
        }
        Happening::Carried { token, runs } => {
            let outcome = match runs {
                true => Outcome::Observed(InstanceState::Running),
                false => Outcome::Refused(Refusal::Hypervisor),
            };
            Input::Hypervisor { instance: INSTANCE, token, outcome }
        }
    };
    let mut outputs = agent.handle(input, Millis::ZERO);
    while let Some(output) = outputs.pop() {
        match output {
            Output::AskHolder { .. } => {
                let Happening::Ordered { held, .. } = happening else { continue };
                let holder = held.map(|held| Holder {
                    host: held.host.id(),
                    token: held.token,
                    boot: held.boot.map(|boot| boot.id(held.host)),
                });
                let holding = Holding { holder, strays: Vec::new() };
                let input = Input::Holder { instance: INSTANCE, holding: Outcome::Observed(holding) };
                outputs.extend(agent.handle(input, Millis::ZERO));
            }
            Output::Carry { .. } => reaction.carries = true,
            Output::Answer { to, answer } => {
                reaction.answers.extend(definite(&answer).map(|answer| (ControllerNumber::of(to), answer)));
            }
            Output::Admitted(_) => {}
        }
    }
    reaction
}

fn definite(answer: &AgentAnswer) -> Option<Answer> {
    let runs = match answer.outcome {
        Outcome::Observed(InstanceState::Running) => true,
        Outcome::Observed(
            InstanceState::Stopped | InstanceState::Crashed | InstanceState::Moving | InstanceState::Migrated,
        )
        | Outcome::Refused(_) => false,
        Outcome::Unknown(_) => return None,
    };
    Some(Answer { token: answer.token, runs })
}
