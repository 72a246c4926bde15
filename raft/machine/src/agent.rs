//! One host's agent as a pure function: its lease, its quarantine, and the care of its instances.
//!
//! The agent acts only on orders, and on an order only after the log itself said that this host, in this boot, holds
//! the instance under that token. Orders may come twice, late, or from a leader that is none any more.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{BootId, ControllerId, Doubt, HostId, InstanceId, InstanceState, Millis, Outcome, Refusal, Token};

/// Orders that may be open at once; more are answered with [`Doubt::Busy`].
const OPEN_ORDERS_MAX: usize = 1024;

/// One host's agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    host: HostId,
    boot: BootId,
    admitted: bool,
    newest: BTreeMap<InstanceId, Token>,
    closed: BTreeMap<InstanceId, (Token, Refusal)>,
    open: BTreeMap<InstanceId, Open>,
    acknowledged: BTreeMap<ControllerId, Millis>,
    controllers: BTreeSet<ControllerId>,
    lease: Millis,
}

/// An order that is being carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    order: Order,
    from: BTreeSet<ControllerId>,
}

/// An order of the leader to one host's agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Order {
    /// The decision that it rests on.
    pub token: Token,
    /// The instance.
    pub instance: InstanceId,
    /// The boot of the host that it is meant for.
    pub boot: BootId,
    /// What to do.
    pub action: Action,
}

/// What to do with an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Action {
    /// Start it, transient, from this definition (libvirt XML).
    Start {
        /// The definition.
        definition: String,
    },
    /// Stop it and remove its definition: the log gives it to another host.
    Stop,
}

/// The answer to an order.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// The order's token.
    pub token: Token,
    /// The order's instance.
    pub instance: InstanceId,
    /// What the agent saw.
    pub outcome: Outcome<InstanceState>,
}

/// An order that an agent refused, and refuses for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Refused {
    /// The instance.
    pub instance: InstanceId,
    /// The order's token.
    pub token: Token,
    /// Why.
    pub refusal: Refusal,
}

/// Who may run an instance, read from the log through a quorum.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The host.
    pub host: HostId,
    /// The decision that says so.
    pub token: Token,
    /// The boot of the host that is to start it; `None` once the log has heard that it started.
    pub boot: Option<BootId>,
}

/// A copy of an instance that is to be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stray {
    /// Where it is.
    pub host: HostId,
    /// The boot of the host that listed it.
    pub boot: BootId,
}

/// What the log says of one instance, read through a quorum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Holding {
    /// Who may run it; `None` when nobody may, or the log does not know it.
    pub holder: Option<Holder>,
    /// Its copies that are to be stopped.
    pub strays: Vec<Stray>,
}

/// What happens to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A controller answered a heartbeat that was sent at `sent`.
    Acknowledged {
        /// The controller.
        from: ControllerId,
        /// When the heartbeat was sent, on this agent's clock.
        sent: Millis,
        /// The boot of this host that the log admits; `None` while none is.
        admitted: Option<BootId>,
    },
    /// The controllers are these.
    Controllers(BTreeSet<ControllerId>),
    /// A controller orders something.
    Order {
        /// Who.
        from: ControllerId,
        /// What.
        order: Order,
    },
    /// A quorum read of who holds an instance ended; `Unknown` when no quorum answered.
    Holder {
        /// The instance.
        instance: InstanceId,
        /// The answer.
        holding: Outcome<Holding>,
    },
    /// The hypervisor answered.
    Hypervisor {
        /// The instance.
        instance: InstanceId,
        /// The token of the order that it was asked under.
        token: Token,
        /// What it said.
        outcome: Outcome<InstanceState>,
    },
}

/// What an agent wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Ask the controllers, through a quorum, who holds the instance; the answer comes back as [`Input::Holder`].
    AskHolder {
        /// The instance.
        instance: InstanceId,
    },
    /// Have the hypervisor carry the order out; the answer comes back as [`Input::Hypervisor`].
    Carry {
        /// The order.
        order: Order,
    },
    /// Tell a controller what became of its order.
    Answer {
        /// Whom.
        to: ControllerId,
        /// What.
        answer: Answer,
    },
    /// The log admits this host's boot, or does not any more.
    Admitted(bool),
}

impl Agent {
    /// Creates the agent of a host in one boot. It starts quarantined. `lease` is how long an acknowledged heartbeat
    /// counts.
    pub fn new(host: HostId, boot: BootId, lease: Millis) -> Self {
        Self {
            host,
            boot,
            admitted: false,
            newest: BTreeMap::new(),
            closed: BTreeMap::new(),
            open: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            controllers: BTreeSet::new(),
            lease,
        }
    }

    /// Returns the refusals that are final: at most one of each instance, and none that the log itself repeats.
    ///
    /// They MUST outlive the agent's process, and be kept before they are answered: on a refusal's word another host starts
    /// the instance, and a new process that knew nothing of it would carry out a late copy of the order (found by the model).
    pub fn refusals(&self) -> Vec<Refused> {
        let closed = self.closed.iter();
        closed
            .map(|(instance, (token, refusal))| Refused { instance: *instance, token: *token, refusal: *refusal })
            .collect()
    }

    /// Takes over what an earlier process of this boot refused.
    pub fn recall(&mut self, refusals: impl IntoIterator<Item = Refused>) {
        for Refused { instance, token, refusal } in refusals {
            self.newest.insert(instance, token);
            self.closed.insert(instance, (token, refusal));
        }
    }

    /// Returns what the agent wants done about one input.
    pub fn handle(&mut self, input: Input, _now: Millis) -> Vec<Output> {
        match input {
            Input::Acknowledged { from, sent, admitted } => self.acknowledged(from, sent, admitted),
            Input::Controllers(controllers) => {
                self.acknowledged.retain(|id, _| controllers.contains(id));
                self.controllers = controllers;
                Vec::new()
            }
            Input::Order { from, order } => self.ordered(from, order),
            Input::Holder { instance, holding } => self.holder(instance, holding),
            Input::Hypervisor { instance, token, outcome } => self.carried(instance, token, outcome),
        }
    }

    /// Returns how long the lease still lasts at `now`: a majority of controllers answered heartbeats sent since.
    pub fn lease_left(&self, now: Millis) -> Millis {
        let majority = self.controllers.len() / 2 + 1;
        let mut sent: Vec<Millis> = self.acknowledged.values().copied().collect();
        sent.sort_unstable_by(|a, b| b.cmp(a));
        match sent.get(majority - 1) {
            Some(oldest) => *oldest + self.lease - now,
            None => Millis::ZERO,
        }
    }

    /// Returns whether the log admits this boot.
    pub fn is_admitted(&self) -> bool {
        self.admitted
    }

    fn acknowledged(&mut self, from: ControllerId, sent: Millis, admitted: Option<BootId>) -> Vec<Output> {
        let newest = self.acknowledged.entry(from).or_default();
        *newest = (*newest).max(sent);
        let is_admitted = admitted == Some(self.boot);
        if is_admitted == self.admitted {
            return Vec::new();
        }
        self.admitted = is_admitted;
        vec![Output::Admitted(is_admitted)]
    }

    fn ordered(&mut self, from: ControllerId, order: Order) -> Vec<Output> {
        let instance = order.instance;
        if order.boot != self.boot {
            return vec![answer(from, &order, Outcome::Refused(Refusal::WrongBoot))];
        }
        if self.newest.get(&instance).is_some_and(|newest| order.token < *newest) {
            return vec![answer(from, &order, Outcome::Refused(Refusal::OldToken))];
        }
        if let Some((token, refusal)) = self.closed.get(&instance)
            && *token == order.token
        {
            return vec![answer(from, &order, Outcome::Refused(*refusal))];
        }
        if let Some(open) = self.open.get_mut(&instance) {
            if open.order == order {
                open.from.insert(from);
                return Vec::new();
            }
            return vec![answer(from, &order, Outcome::Unknown(Doubt::Busy))];
        }
        if self.open.len() >= OPEN_ORDERS_MAX {
            return vec![answer(from, &order, Outcome::Unknown(Doubt::Busy))];
        }
        self.newest.insert(instance, order.token);
        // A refusal of an older token need not outlive this process. The leader orders what is committed, so the log gives
        // the instance to nobody under an older token any more, and every process asks the log before it acts.
        self.closed.remove(&instance);
        self.open.insert(instance, Open { order, from: BTreeSet::from([from]) });
        vec![Output::AskHolder { instance }]
    }

    fn holder(&mut self, instance: InstanceId, holding: Outcome<Holding>) -> Vec<Output> {
        let Some(open) = self.open.get(&instance) else { return Vec::new() };
        let order = open.order.clone();
        let Holding { holder, strays } = match holding {
            Outcome::Observed(holding) => holding,
            Outcome::Refused(refusal) => return self.close(instance, Outcome::Refused(refusal)),
            Outcome::Unknown(doubt) => return self.close(instance, Outcome::Unknown(doubt)),
        };
        let here = holder.filter(|holder| holder.host == self.host);
        // The order may come from a voter that lags behind, and only what the log wants now is done. A start that it has heard
        // of is done already, and what it started may have been ended since, by the one it belongs to. A copy that was one too
        // many may be the instance itself, which somebody has moved back.
        let is_due = match order.action {
            Action::Start { .. } => here.is_some_and(|holder| {
                let is_open = holder.boot == Some(self.boot);
                is_open && holder.token == order.token
            }),
            Action::Stop => strays.iter().any(|stray| stray.host == self.host && stray.boot == self.boot),
        };
        if is_due {
            vec![Output::Carry { order }]
        } else {
            self.close(instance, Outcome::Refused(Refusal::NotAssigned))
        }
    }

    fn carried(&mut self, instance: InstanceId, token: Token, outcome: Outcome<InstanceState>) -> Vec<Output> {
        match self.open.get(&instance) {
            Some(open) if open.order.token == token => self.close(instance, outcome),
            Some(_) | None => Vec::new(),
        }
    }

    /// Ends an order. The refusal of a start is final for its token: a late copy of the order must not start what the log has
    /// by then given to another host. An unknown result is not remembered: the leader asks again and the hypervisor says. A
    /// stop that is not wanted now may be wanted later.
    fn close(&mut self, instance: InstanceId, outcome: Outcome<InstanceState>) -> Vec<Output> {
        let Some(open) = self.open.remove(&instance) else { return Vec::new() };
        if let (Outcome::Refused(refusal), Action::Start { .. }) = (&outcome, &open.order.action) {
            self.closed.insert(instance, (open.order.token, *refusal));
        }
        open.from.iter().map(|to| answer(*to, &open.order, outcome.clone())).collect()
    }
}

fn answer(to: ControllerId, order: &Order, outcome: Outcome<InstanceState>) -> Output {
    Output::Answer { to, answer: Answer { token: order.token, instance: order.instance, outcome } }
}
