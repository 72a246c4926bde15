//! Who belongs to the group of controllers, and how that changes: joined, promoted, demoted, removed, replaced.
//!
//! Changes are wishes that are tried until they are true, with the commands that a person has, one after the other. The
//! world refuses what no person should do: to take away a voter whose loss, beside the broken ones, would leave no
//! majority.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Child;

use anyhow::Context;
use quorumfence_machine::ControllerId;
use quorumfence_node::cluster::directory::ControllerDirectory;
use quorumfence_proto::pb::{MemberRole, StatusReply};

use super::Processes;
use super::controllers::Seat;
use super::operator::{Lines, said};
use crate::fault::{Member, Place};

/// The smallest group that demotions leave.
const VOTERS_MIN: usize = 3;

/// No group grows beyond this: two cores carry no more.
const GROUP_MAX: usize = 5;

/// Changes of members that are under way.
#[derive(Debug, Default)]
pub(super) struct Members {
    wishes: BTreeMap<ControllerId, Wish>,
    /// Controllers that are to join.
    joins: usize,
    /// The id that the log gave out last, as far as anybody here knows.
    newest: u64,
    /// Controllers whose disk lost what it held. They never come back under their id.
    wiped: BTreeSet<ControllerId>,
    /// What somebody at the terminal is doing.
    step: Option<Step>,
}

/// What somebody is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Voter,
    Learner,
    Gone,
}

#[derive(Debug)]
enum Step {
    /// A join token is made.
    Token(Child),
    /// A machine joins, for which a name and an address were put aside.
    Join(Child, ControllerId, Box<Seat>),
    /// A change of the group; whether it came true shows in the members.
    Change(Child),
}

/// Who votes and who learns, as the leader says.
struct Group {
    voters: BTreeSet<ControllerId>,
    learners: BTreeSet<ControllerId>,
}

impl Processes {
    /// Takes a wish, unless it would take the group's majority away.
    pub(super) fn change_members(&mut self, change: Member) {
        match change {
            Member::Add if self.seats.len() + self.members.joins >= GROUP_MAX => {}
            Member::Add => self.members.joins += 1,
            Member::Promote(id) if self.seats.contains_key(&id) => drop(self.members.wishes.insert(id, Wish::Voter)),
            Member::Demote(id) if self.may_lose(id) => drop(self.members.wishes.insert(id, Wish::Learner)),
            Member::Remove(id) if self.may_lose(id) => drop(self.members.wishes.insert(id, Wish::Gone)),
            Member::Promote(_) | Member::Demote(_) | Member::Remove(_) => {}
        }
    }

    /// Empties a controller's database, unless too many are broken already. Its name and key stay: a process that
    /// starts there must refuse to be who it was.
    pub(super) fn wipe(&mut self, id: ControllerId) -> anyhow::Result<()> {
        if !self.may_wipe(id) {
            return Ok(());
        }
        self.kill(id);
        let Some(seat) = self.seats.get(&id) else { return Ok(()) };
        let store = ControllerDirectory::open(seat.directory()).context("a controller's directory")?.store();
        fs::remove_dir_all(store).context("a controller's store")?;
        self.members.wiped.insert(id);
        Ok(())
    }

    /// Has everybody who is wiped replaced, and everybody else vote.
    pub(super) fn heal_members(&mut self) {
        for id in std::mem::take(&mut self.members.wiped) {
            self.members.joins += 1;
            self.members.wishes.insert(id, Wish::Gone);
        }
        for wish in self.members.wishes.values_mut().filter(|wish| **wish == Wish::Learner) {
            *wish = Wish::Voter;
        }
    }

    /// Whether nothing is left to change.
    pub(super) fn members_are_settled(&self) -> bool {
        self.members.wishes.is_empty() && self.members.joins == 0 && self.members.step.is_none()
    }

    /// Whether a controller is wiped, or was and waits for being replaced.
    pub(super) fn is_broken(&self, id: ControllerId) -> bool {
        self.members.wiped.contains(&id) || self.members.wishes.get(&id) == Some(&Wish::Gone)
    }

    /// Looks what the last command led to, and tries the next wish.
    pub(super) fn tend_members(&mut self) -> anyhow::Result<()> {
        if !self.finish_step()? {
            return Ok(());
        }
        let Some(group) = self.group() else { return Ok(()) };
        self.forget_what_is_true(&group)?;
        if let Some((id, wish)) = self.next_wish(&group) {
            self.members.step = Some(Step::Change(self.operator.spawn(&command(&group, id, wish))?));
        } else if self.members.joins > 0 {
            let token =
                self.operator.spawn(&["token".into(), "create".into(), "--role".into(), "controller".into()])?;
            self.members.step = Some(Step::Token(token));
        }
        Ok(())
    }

    /// Goes on where a command has ended. Returns whether nobody is at the terminal.
    fn finish_step(&mut self) -> anyhow::Result<bool> {
        let Some(step) = &mut self.members.step else { return Ok(true) };
        let (Step::Token(child) | Step::Join(child, ..) | Step::Change(child)) = step;
        if matches!(child.try_wait(), Ok(None)) {
            return Ok(false);
        }
        match self.members.step.take() {
            None | Some(Step::Change(_)) => {}
            Some(Step::Token(child)) => {
                let Some(token) = said(child) else { return Ok(true) };
                let known = self.seats.keys().last().map_or(0, |id| id.0);
                let id = ControllerId(self.members.newest.max(known) + 1);
                self.members.newest = id.0;
                let seat = Seat::new(&self.place, id)?;
                let join = self.operator.spawn(&self.join_words(id, &seat, &token))?;
                self.members.step = Some(Step::Join(join, id, Box::new(seat)));
                return Ok(false);
            }
            Some(Step::Join(child, id, seat)) => {
                let joined = said(child).and_then(|_| ControllerDirectory::open(seat.directory()).ok());
                let given = joined.and_then(|directory| directory.description().ok()).map(|joined| joined.controller);
                // An id that got lost on the way is never used: the next machine is told to expect the one after it, which may
                // be the name of this one.
                if let Some(given) = given {
                    self.members.newest = given.0;
                }
                if given == Some(id) {
                    self.members.joins = self.members.joins.saturating_sub(1);
                    self.members.wishes.insert(id, Wish::Voter);
                    self.begin(id, *seat)?;
                    let lines = Lines::open(&self.operator.context())?;
                    self.tasks.spawn(self.statuses.clone().follow(lines, id));
                } else {
                    seat.scrap(&self.place, id)?;
                }
            }
        }
        Ok(true)
    }

    fn forget_what_is_true(&mut self, group: &Group) -> anyhow::Result<()> {
        let wishes = std::mem::take(&mut self.members.wishes);
        for (id, wish) in wishes {
            let (votes, learns) = (group.voters.contains(&id), group.learners.contains(&id));
            let is_true = match wish {
                Wish::Voter => votes,
                Wish::Learner => learns,
                Wish::Gone => !votes && !learns,
            };
            if !is_true {
                self.members.wishes.insert(id, wish);
                continue;
            }
            if wish == Wish::Gone {
                self.kill(id);
                self.seats.remove(&id);
                self.roll.set(self.seats.keys().copied());
                self.net.unplug(&Place::Controller(id)).context("a controller's network")?;
            }
            // It writes the controllers' addresses into the operator's context.
            self.operator.begin(&["status"])?;
        }
        Ok(())
    }

    fn next_wish(&self, group: &Group) -> Option<(ControllerId, Wish)> {
        let is_possible = |(id, wish): &(&ControllerId, &Wish)| match wish {
            Wish::Voter => true,
            Wish::Learner | Wish::Gone => !group.voters.contains(id) || self.leaves_a_majority(group, **id),
        };
        self.members.wishes.iter().find(is_possible).map(|(id, wish)| (*id, *wish))
    }

    /// Whether those who would still vote without `id` have a majority that is whole.
    fn leaves_a_majority(&self, group: &Group, id: ControllerId) -> bool {
        let stay: Vec<ControllerId> = group.voters.iter().copied().filter(|voter| *voter != id).collect();
        let whole = stay.iter().filter(|voter| !self.is_broken(**voter)).count();
        stay.len() >= VOTERS_MIN && 2 * whole > stay.len()
    }

    fn may_lose(&self, id: ControllerId) -> bool {
        self.group().is_some_and(|group| group.voters.contains(&id) && self.leaves_a_majority(&group, id))
    }

    /// A majority of the voters is always whole, and nobody is wiped while members change.
    fn may_wipe(&self, id: ControllerId) -> bool {
        self.members_are_settled()
            && self.group().is_some_and(|group| {
                let whole = group.voters.iter().filter(|voter| **voter != id && !self.is_broken(**voter)).count();
                group.voters.contains(&id) && 2 * whole > group.voters.len()
            })
    }

    /// Returns the group as the leader has it; nothing while nobody leads.
    fn group(&self) -> Option<Group> {
        let status: StatusReply = self.statuses.fresh().remove(&self.leader()?)?;
        let all = |role: MemberRole| {
            let members = status.members.iter().filter(move |member| member.role() == role);
            members.filter_map(|member| member.peer.as_ref()).map(|peer| ControllerId(peer.id)).collect()
        };
        Some(Group { voters: all(MemberRole::Voter), learners: all(MemberRole::Learner) })
    }
}

/// Returns the next command towards a wish.
fn command(group: &Group, id: ControllerId, wish: Wish) -> Vec<String> {
    let verb = match wish {
        Wish::Voter if group.learners.contains(&id) => "promote",
        Wish::Voter => "add",
        Wish::Learner | Wish::Gone if group.voters.contains(&id) => "demote",
        Wish::Learner | Wish::Gone => "remove",
    };
    ["--yes", "member", verb, &id.0.to_string()].map(String::from).to_vec()
}
