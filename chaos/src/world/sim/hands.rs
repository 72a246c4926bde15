//! Hands: what somebody with a shell on the hosts does to instances.

use std::collections::BTreeMap;

use quorumfence_drivers::lab::Laboratory;
use quorumfence_drivers::order::Domain;
use quorumfence_machine::{ControllerId, HostId, InstanceId, LogIndex, Millis};

use super::Sim;
use crate::fault::Hands;

/// To copy an instance's memory takes at least this long.
pub(in crate::world) const COPY: Millis = Millis(400);

/// A move that takes longer is given up.
pub(in crate::world) const MOVE_MAX: Millis = Millis(10_000);

/// Moves that have begun, when, and how far the log was. What it listed until then is of a move before.
pub(super) type Moves = BTreeMap<InstanceId, (Millis, LogIndex)>;

impl Sim {
    pub(super) fn lay_hands_on(&mut self, name: &str, hands: &Hands) {
        let Some(domain) = self.domains.get(name).cloned() else { return };
        match hands {
            Hands::Move(to) => {
                let known = self.newest().map_or(LogIndex::default(), |(_, applied)| applied);
                self.laboratory().begin_move(domain.instance, to);
                self.moves.insert(domain.instance, (self.laboratory().now(), known));
            }
            Hands::End | Hands::Start(_) | Hands::Migrate(_) => lay_hands(self.laboratory(), &domain, hands),
        }
    }

    /// Goes on with the moves that have begun. Whoever moves an instance by hand waits until the log lists the copy at
    /// its target: before that, nothing but the source knows of it.
    pub(super) fn tend_moves(&mut self) {
        let now = self.laboratory().now();
        for (instance, (since, known)) in self.moves.clone() {
            let to = self.laboratory().moves_to(instance);
            let is_listed = to.as_ref().is_some_and(|to| self.is_listed(instance, to, known));
            if is_listed && since + COPY <= now {
                self.laboratory().finish_move(instance);
            } else if to.is_some() && now - since > MOVE_MAX {
                self.laboratory().abandon_move(instance);
            }
            if self.laboratory().moves_to(instance).is_none() {
                self.moves.remove(&instance);
            }
        }
    }

    /// Whether the log has come to say that a move brings an instance to a host, in its present boot.
    fn is_listed(&self, instance: InstanceId, host: &HostId, known: LogIndex) -> bool {
        let boot = self.laboratory().boot(host);
        let listed = self.newest().and_then(|(id, _)| {
            self.read(id, |state| {
                let facts = state.host(host).and_then(|row| row.agent.as_ref());
                facts.is_some_and(|facts| {
                    let lists = facts.list_at > known && facts.moving.contains(&instance);
                    lists && Some(facts.boot) == boot
                })
            })
        });
        listed.unwrap_or(false)
    }

    /// Returns the running controller that has applied most, and how far it is.
    fn newest(&self) -> Option<(ControllerId, LogIndex)> {
        let applied = |id| Some((id, *self.ether.station(id)?.replica.applied().borrow()));
        self.ids().into_iter().filter_map(applied).max_by_key(|(_, applied)| *applied)
    }
}

/// Returns every instance with the host that it runs on, by name.
pub(in crate::world) fn homes(laboratory: &Laboratory, domains: &BTreeMap<String, Domain>) -> Vec<(String, HostId)> {
    let home = |domain: &Domain| laboratory.runs_on(domain.instance).first().cloned();
    domains.iter().filter_map(|(name, domain)| Some((name.clone(), home(domain)?))).collect()
}

/// Does what somebody does who asks nobody.
pub(in crate::world) fn lay_hands(laboratory: &Laboratory, domain: &Domain, hands: &Hands) {
    let instance = domain.instance;
    match hands {
        Hands::Start(host) => laboratory.seed_instance(host, domain.clone()),
        Hands::Migrate(host) => {
            laboratory.begin_move(instance, host);
            laboratory.finish_move(instance);
        }
        Hands::Move(host) => laboratory.begin_move(instance, host),
        Hands::End => laboratory.end_instance(instance),
    }
}
