//! Who belongs to the group of controllers, and how that changes: joined, promoted, demoted, removed, replaced.
//!
//! Changes are wishes that are tried until they are true, with the commands that a person has, one after the other. The
//! world refuses what no person should do: to take away a voter whose loss, beside the broken ones, would leave no
//! majority.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::process::Child;

use anyhow::Context;
use quorumfence_machine::ControllerId;
use quorumfence_node::cluster::directory::ControllerDirectory;
use quorumfence_proto::pb::{MemberRole, StatusReply};

use super::Processes;
use super::controllers::Seat;
use super::operator::said;
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
    pub(super) clerk: Clerk,
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
    /// It is between old voters and new.
    changing: bool,
    voters: BTreeSet<ControllerId>,
    learners: BTreeSet<ControllerId>,
}

impl Processes {
    /// Takes a wish, unless it would take the group's majority away.
    pub(super) fn change_members(&mut self, change: Member) {
        match change {
            Member::Add if self.seats.len() + self.members.joins >= GROUP_MAX => {}
            Member::Add => self.members.joins += 1,
            Member::Promote(id) if self.may_promote(id) => drop(self.members.wishes.insert(id, Wish::Voter)),
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
            None => {}
            Some(Step::Change(child)) => drop(self.heard(said(child))),
            Some(Step::Token(child)) => {
                let Some(token) = self.heard(said(child)) else { return Ok(true) };
                let (id, seat) = self.new_seat()?;
                let join = self.operator.spawn(&self.join_words(&seat, &token))?;
                self.members.step = Some(Step::Join(join, id, Box::new(seat)));
                return Ok(false);
            }
            Some(Step::Join(child, id, seat)) => {
                let joined = self.heard(said(child)).and_then(|_| ControllerDirectory::open(seat.directory()).ok());
                let given = joined.and_then(|directory| directory.description().ok()).map(|joined| joined.controller);
                // An id that got lost on the way is never used, and neither is one that came to a machine of another name.
                if let Some(given) = given {
                    self.members.clerk.given(given);
                }
                if given == Some(id) {
                    self.members.joins = self.members.joins.saturating_sub(1);
                    self.members.wishes.insert(id, Wish::Voter);
                    self.begin(id, *seat)?;
                    let lines = self.lines()?;
                    self.tasks.spawn(self.statuses.clone().follow(lines, id));
                } else {
                    seat.scrap(&self.place, id)?;
                }
            }
        }
        Ok(true)
    }

    /// Returns what a command printed; what it complained about is kept beside the processes' own words.
    fn heard(&self, said: Result<String, String>) -> Option<String> {
        let complain = |why: &String| {
            let mut file = File::options().append(true).create(true).open(self.place.join("members.log"))?;
            writeln!(file, "{} {why}", self.record.now())
        };
        // Nothing depends on these words, and a disk that is full has other consequences.
        said.inspect_err(|why| drop(complain(why))).ok()
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
                self.roll.set(&self.seats);
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

    /// What lost its store is replaced, and never votes again.
    fn may_promote(&self, id: ControllerId) -> bool {
        self.seats.contains_key(&id) && !self.members.wiped.contains(&id)
    }

    fn may_lose(&self, id: ControllerId) -> bool {
        self.group().is_some_and(|group| group.voters.contains(&id) && self.leaves_a_majority(&group, id))
    }

    /// A majority of the voters is always whole, and nobody is wiped while members change. A change goes on when the
    /// command that began it has given up; until it ends the old voters need their majority too.
    fn may_wipe(&self, id: ControllerId) -> bool {
        self.members_are_settled()
            && self.group().is_some_and(|group| {
                let whole = group.voters.iter().filter(|voter| **voter != id && !self.is_broken(**voter)).count();
                !group.changing && group.voters.contains(&id) && 2 * whole > group.voters.len()
            })
    }

    /// Returns the group as the leader has it; nothing while nobody leads.
    fn group(&self) -> Option<Group> {
        let status: StatusReply = self.statuses.fresh().remove(&self.leader()?)?;
        let all = |role: MemberRole| {
            let members = status.members.iter().filter(move |member| member.role() == role);
            members.filter_map(|member| member.peer.as_ref()).map(|peer| ControllerId(peer.id)).collect()
        };
        let changing = status.members_changing;
        Some(Group { changing, voters: all(MemberRole::Voter), learners: all(MemberRole::Learner) })
    }
}

/// Names the machines of controllers: by the id that each is expected to be given, and by a number of its own, which
/// makes its address. The log keeps the address of everybody who joined, also where no answer said so.
#[derive(Debug, Default)]
pub(super) struct Clerk {
    /// The newest id that is known to be given.
    newest: u64,
    machines: u16,
}

impl Clerk {
    /// Returns the names of another machine; nothing once the numbers are used up.
    pub(super) fn next(&mut self) -> Option<(ControllerId, u16)> {
        self.machines = self.machines.checked_add(1)?;
        Some((ControllerId(self.newest + 1), self.machines))
    }

    pub(super) fn given(&mut self, id: ControllerId) {
        self.newest = self.newest.max(id.0);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a machine that wants to join.
    #[derive(Debug, Clone, Copy)]
    enum Join {
        NeverAsked,
        AnswerLost,
        Answered,
    }

    /// Gives out ids, and refuses an address that joined before.
    #[derive(Default)]
    struct Log {
        addresses: BTreeSet<u16>,
    }

    impl Log {
        fn join(&mut self, address: u16) -> Option<ControllerId> {
            self.addresses.insert(address).then_some(ControllerId(self.addresses.len() as u64))
        }
    }

    #[test]
    fn a_machine_finds_its_name_again_whatever_became_of_others() {
        let all = [Join::NeverAsked, Join::AnswerLost, Join::Answered];
        for number in 0..all.len().pow(6) {
            let story: Vec<Join> = (0..6_u32).map(|step| all[number / all.len().pow(step) % all.len()]).collect();
            let (mut clerk, mut log) = (Clerk::default(), Log::default());
            for join in &story {
                let (_, machine) = clerk.next().unwrap();
                match join {
                    Join::NeverAsked => {}
                    Join::AnswerLost => drop(log.join(machine)),
                    Join::Answered => clerk.given(log.join(machine).expect("no address joins twice")),
                }
            }
            let meets = (0..2).any(|_| {
                let (expected, machine) = clerk.next().unwrap();
                let given = log.join(machine).expect("no address joins twice");
                clerk.given(given);
                given == expected
            });
            assert!(meets, "after {story:?} the clerk expects {:?}", clerk.next());
        }
    }
}
