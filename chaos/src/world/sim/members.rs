//! Who belongs to the group of controllers, and how that changes: joined, promoted, demoted, removed, replaced.
//!
//! Changes are wishes that are tried until they are true, as a person at a terminal would. The world refuses what no
//! person should do: to take away a voter whose loss, beside the damaged ones, would leave no majority.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use quorumfence_machine::{Actor, Change, ControllerId, JoinTokenId, Joiner, Millis, Reply, Role};
use quorumfence_raft::{Environment, Expect, Peer, Replica, Status};
use quorumfence_storage::Column;

use super::Sim;
use super::controllers::address;
use super::runtime::in_the_world;
use crate::fault::Member;

/// The smallest group that demotions leave.
const VOTERS_MIN: usize = 3;

/// No group grows beyond this.
const GROUP_MAX: usize = 7;

/// Changes of members that are under way.
#[derive(Debug, Default)]
pub(super) struct Members {
    wishes: BTreeMap<ControllerId, Wish>,
    /// Controllers that are to join and have no id yet.
    joins: u64,
    /// Join tokens so far: each has a name of its own.
    tokens: u64,
    /// Ids that the log gave out, and that have no machine yet.
    joined: Arc<Mutex<Vec<ControllerId>>>,
    /// Controllers whose disk lost or changed what it held. They never come back under their id.
    damaged: BTreeSet<ControllerId>,
    /// Somebody is at the terminal.
    busy: Arc<AtomicBool>,
}

/// What somebody is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Voter,
    Learner,
    Gone,
}

impl Sim {
    /// Takes a wish, unless it would take the group's majority away.
    pub(super) fn change_members(&mut self, change: Member) {
        match change {
            Member::Add if self.seats.len() + usize::try_from(self.members.joins).unwrap_or(GROUP_MAX) >= GROUP_MAX => {
            }
            Member::Add => self.members.joins += 1,
            Member::Promote(id) if self.may_promote(id) => drop(self.members.wishes.insert(id, Wish::Voter)),
            Member::Demote(id) if self.may_lose(id) => drop(self.members.wishes.insert(id, Wish::Learner)),
            Member::Remove(id) if self.may_lose(id) => drop(self.members.wishes.insert(id, Wish::Gone)),
            Member::Promote(_) | Member::Demote(_) | Member::Remove(_) => {}
        }
    }

    /// Empties a controller's disk, unless too many are damaged already.
    pub(super) fn wipe(&mut self, id: ControllerId) {
        if self.may_damage(id) {
            self.kill(id);
            self.members.damaged.insert(id);
            if let Some(seat) = self.seats.get(&id) {
                seat.disk.wipe();
            }
        }
    }

    /// Flips one bit on a controller's disk, unless too many are damaged already.
    pub(super) fn flip(&mut self, id: ControllerId, column: Column) {
        if !self.may_damage(id) {
            return;
        }
        let (nth, bit) = (self.chance.draw(), self.chance.draw());
        let flipped = self.seats.get(&id).and_then(|seat| seat.disk.flip(column, nth, bit));
        if flipped.is_some() {
            self.members.damaged.insert(id);
        }
    }

    /// Has everybody who is damaged replaced, and everybody else vote.
    pub(super) fn heal_members(&mut self) {
        for id in std::mem::take(&mut self.members.damaged) {
            self.members.joins += 1;
            self.members.wishes.insert(id, Wish::Gone);
        }
        for wish in self.members.wishes.values_mut().filter(|wish| **wish == Wish::Learner) {
            *wish = Wish::Voter;
        }
    }

    /// Whether nothing is left to change.
    pub(super) fn members_are_settled(&self) -> bool {
        let joined = self.members.joined.lock().unwrap_or_else(PoisonError::into_inner);
        self.members.wishes.is_empty() && self.members.joins == 0 && joined.is_empty()
    }

    /// Gives machines to those who joined, and tries the next wish.
    pub(super) fn tend_members(&mut self) {
        let joined = std::mem::take(&mut *self.members.joined.lock().unwrap_or_else(PoisonError::into_inner));
        for id in joined {
            self.members.joins = self.members.joins.saturating_sub(1);
            self.members.wishes.insert(id, Wish::Voter);
            self.start(id, Expect::New);
        }
        let Some(leader) = self.leader().and_then(|id| self.ether.station(id)) else { return };
        let status = leader.replica.status();
        self.forget_what_is_true(&status);
        if self.members.busy.load(Ordering::SeqCst) {
            return;
        }
        let step = match self.next_wish(&status) {
            Some((id, wish)) => fulfil(leader.replica.clone(), &status, id, wish),
            None if self.members.joins > 0 => {
                self.members.tokens += 1;
                join(leader.replica.clone(), self.members.tokens, Arc::clone(&self.members.joined))
            }
            None => return,
        };
        let busy = Arc::clone(&self.members.busy);
        busy.store(true, Ordering::SeqCst);
        let task = leader.node.spawn(step);
        in_the_world(async move {
            // Also when the leader died with it.
            drop(task.await);
            busy.store(false, Ordering::SeqCst);
        });
    }

    fn forget_what_is_true(&mut self, status: &Status) {
        let wishes = std::mem::take(&mut self.members.wishes);
        for (id, wish) in wishes {
            let votes = has(&status.voters, id);
            let is_true = match wish {
                Wish::Voter => votes,
                Wish::Learner => !votes && has(&status.learners, id),
                Wish::Gone => !votes && !has(&status.learners, id),
            };
            if !is_true {
                self.members.wishes.insert(id, wish);
            } else if wish == Wish::Gone {
                self.kill(id);
                self.seats.remove(&id);
                self.members.damaged.remove(&id);
            }
        }
    }

    fn next_wish(&self, status: &Status) -> Option<(ControllerId, Wish)> {
        let possible = |(id, wish): &(&ControllerId, &Wish)| match wish {
            Wish::Voter => true,
            Wish::Learner | Wish::Gone => !has(&status.voters, **id) || self.leaves_a_majority(status, **id),
        };
        self.members.wishes.iter().find(possible).map(|(id, wish)| (*id, *wish))
    }

    /// Whether those who would still vote without `id` have a majority that is whole.
    fn leaves_a_majority(&self, status: &Status, id: ControllerId) -> bool {
        let stay: Vec<ControllerId> = status.voters.iter().map(|voter| voter.id).filter(|voter| *voter != id).collect();
        let whole = stay.iter().filter(|voter| !self.is_broken(**voter)).count();
        stay.len() >= VOTERS_MIN && 2 * whole > stay.len()
    }

    /// Whether a controller is damaged, or was and waits for being replaced.
    pub(super) fn is_broken(&self, id: ControllerId) -> bool {
        self.members.damaged.contains(&id) || self.members.wishes.get(&id) == Some(&Wish::Gone)
    }

    /// What lost or changed its disk's contents is replaced, and never votes again.
    fn may_promote(&self, id: ControllerId) -> bool {
        self.seats.contains_key(&id) && !self.members.damaged.contains(&id)
    }

    fn may_lose(&self, id: ControllerId) -> bool {
        self.leader().and_then(|id| self.ether.station(id)).is_some_and(|leader| {
            let status = leader.replica.status();
            has(&status.voters, id) && self.leaves_a_majority(&status, id)
        })
    }

    /// The atlas of damage: a majority of the voters is always whole, and nobody is damaged while members change. A
    /// change goes on when whoever wished it has gone; until it ends the old voters need their majority too.
    fn may_damage(&self, id: ControllerId) -> bool {
        let settled = self.members_are_settled() && !self.members.busy.load(Ordering::SeqCst);
        settled
            && self.leader().and_then(|id| self.ether.station(id)).is_some_and(|leader| {
                let Status { changing, voters, .. } = leader.replica.status();
                let whole = voters.iter().filter(|voter| voter.id != id && !self.is_broken(voter.id)).count();
                !changing && has(&voters, id) && 2 * whole > voters.len()
            })
    }
}

fn has(peers: &[Peer], id: ControllerId) -> bool {
    peers.iter().any(|peer| peer.id == id)
}

/// Makes the next step towards a wish. What it led to shows in the members.
fn fulfil<E: Environment>(
    replica: Replica<E>,
    status: &Status,
    id: ControllerId,
    wish: Wish,
) -> BoxFuture<'static, ()> {
    let (votes, learns) = (has(&status.voters, id), has(&status.learners, id));
    async move {
        match wish {
            Wish::Voter if learns => drop(replica.promote(id).await),
            Wish::Voter => drop(replica.add_learner(Peer { id, address: address(id) }).await),
            Wish::Learner | Wish::Gone if votes && id == replica.id() => drop(replica.hand_over(None).await),
            Wish::Learner | Wish::Gone if votes => drop(replica.demote(id).await),
            Wish::Gone => drop(replica.remove(id).await),
            Wish::Learner => {}
        }
    }
    .boxed()
}

/// Gets an id for a controller that joins. An id that got lost on the way is never used.
fn join<E: Environment>(
    replica: Replica<E>,
    number: u64,
    joined: Arc<Mutex<Vec<ControllerId>>>,
) -> BoxFuture<'static, ()> {
    async move {
        let by = Actor::Operator("chaos".into());
        let Ok(id) = format!("join-{number}").parse::<JoinTokenId>() else { return };
        let secret_hash = [2; 32];
        let create = Change::JoinTokenCreate {
            id: id.clone(),
            secret_hash,
            role: Role::Controller,
            life: Millis(600_000),
            uses: 1,
        };
        if replica.propose(by.clone(), None, create).await.is_err() {
            return;
        }
        let joiner = Joiner::Controller { address: format!("joins-{number}:7700") };
        if let Ok((_, Reply::Controller(id))) =
            replica.propose(by, None, Change::Join { id, secret_hash, joiner }).await
        {
            joined.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        }
    }
    .boxed()
}
