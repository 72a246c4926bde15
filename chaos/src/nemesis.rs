//! The nemesis: chooses what goes wrong next, from chance and from what it sees of the cluster.
//!
//! Blind chance rarely hits the moment that matters. So it prefers the host that is being fenced, the host on which an
//! instance is being started, and the leader; it lets things go wrong together (a *storm*); and it waits for a moment
//! of the protocol to strike at (an *ambush*). What it does goes into a script, which plays again without it.

mod ambush;
mod storm;

use std::collections::BTreeSet;

use quorumfence_machine::{ControllerId, HostId, Millis};
use quorumfence_raft::Point;

use crate::chance::Chance;
use crate::fault::{
    Blow, BmcTrouble, Deed, DiskTrouble, Fault, Gear, Hands, HostBlow, HypervisorTrouble, Kept, Levels, Member, Place,
    Weather, Which,
};
use crate::swarm::{Kind, Plan};
use ambush::Ambush;

/// No group grows beyond this.
const CONTROLLERS_MAX: usize = 6;

/// What the nemesis sees of the cluster.
#[derive(Debug, Clone, Default)]
pub struct Sight {
    /// Who leads.
    pub leader: Option<ControllerId>,
    /// All controllers.
    pub controllers: Vec<ControllerId>,
    /// Those that run.
    pub running: Vec<ControllerId>,
    /// All hosts.
    pub hosts: Vec<HostId>,
    /// Hosts without power.
    pub off: BTreeSet<HostId>,
    /// Hosts that a quorum lost or that are being fenced.
    pub fenced: Vec<HostId>,
    /// Hosts that an executor may be switching off.
    pub permitted: Vec<HostId>,
    /// Hosts on which an instance is being started.
    pub targets: Vec<HostId>,
    /// Hosts whose present boot the log knows, admitted or not.
    pub up: Vec<HostId>,
    /// Instances that run, and where.
    pub homes: Vec<(String, HostId)>,
}

/// Chooses faults until it is told to stop.
#[derive(Debug)]
pub struct Nemesis {
    chance: Chance,
    plan: Plan,
    /// What is to come: the ends of faults, and the rest of storms.
    pending: Vec<(Millis, Fault)>,
    /// Hosts that get their power back.
    returning: BTreeSet<HostId>,
    next: Millis,
    storm: Option<Millis>,
    ambush: Option<Ambush>,
}

impl Nemesis {
    /// Makes the nemesis of a run.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut chance = Chance::new(seed, "nemesis");
        let storm = chance.percent(70).then(|| chance.time(Millis(5000), plan.chaos - Millis(30_000)));
        let ambush = chance.percent(50).then(|| Ambush::lay(&mut chance, plan.chaos));
        Self { chance, plan, pending: Vec::new(), returning: BTreeSet::new(), next: Millis::ZERO, storm, ambush }
    }

    /// Returns what goes wrong, or is put right, by `now`, which counts from the start of the chaos.
    pub fn due(&mut self, now: Millis, sight: &Sight) -> Vec<Fault> {
        self.bring_back(now, sight);
        if now >= self.next {
            let twice = Millis(2 * self.plan.pause.0);
            self.next = now + self.chance.time(Millis(50), twice);
            self.strike(now, sight);
        }
        if self.storm.is_some_and(|storm| now >= storm) {
            self.storm = None;
            let storm = storm::draw(&mut self.chance, sight);
            self.pending.extend(storm.into_iter().map(|(after, fault)| (now + after, fault)));
        }
        if let Some(ambush) = &mut self.ambush {
            let sprung = ambush.due(&mut self.chance, now, sight);
            self.pending.extend(sprung.into_iter().map(|(after, fault)| (now + after, fault)));
        }
        // Stable: what was decided first happens first.
        self.pending.sort_by_key(|(at, _)| *at);
        let due = self.pending.iter().take_while(|(at, _)| *at <= now).count();
        self.pending.drain(..due).map(|(_, fault)| fault).collect()
    }

    /// Somebody walks to the rack and switches on what is off.
    fn bring_back(&mut self, now: Millis, sight: &Sight) {
        self.returning.retain(|host| sight.off.contains(host));
        for host in &sight.off {
            if self.returning.insert(host.clone()) {
                let at = now + self.chance.time(Millis(2000), Millis(45_000));
                self.pending.push((at, Fault::Host(host.clone(), HostBlow::PowerOn)));
            }
        }
    }

    fn strike(&mut self, now: Millis, sight: &Sight) {
        let Some(kind) = self.chance.pick(&self.plan.kinds).copied() else { return };
        let blow = match kind {
            Kind::Crashes => self.crash(sight),
            Kind::Pauses => self.pause(sight),
            Kind::Cuts => self.cut(sight),
            Kind::Weather => Some(self.weather()),
            Kind::Disks => self.disk(sight),
            Kind::Clocks => self.clock(sight),
            Kind::Hosts => self.host(sight),
            Kind::Bmcs => self.bmc(sight),
            Kind::Hypervisors => self.hypervisor(sight),
            Kind::Stalls => self.stall(sight),
            Kind::Members => self.member(sight),
            Kind::Damage => self.damage(sight),
            Kind::People => self.person(sight),
            Kind::Hands => self.hands(now, sight),
        };
        let Some((fault, end)) = blow else { return };
        if let Fault::Host(host, _) | Fault::Isolate(Place::Host(host)) = &fault {
            self.spoil_the_rescue(now, sight, &host.clone());
        }
        self.pending.push((now, fault));
        self.pending.extend(end.map(|(after, fault)| (now + after, fault)));
    }

    /// What is needed to rescue a host's instances breaks before the host does: the fence itself takes less time than
    /// anybody needs to come between.
    fn spoil_the_rescue(&mut self, now: Millis, sight: &Sight, host: &HostId) {
        let mut spoilt = Vec::new();
        if self.plan.kinds.contains(&Kind::Bmcs) && self.chance.percent(40) {
            spoilt.push(self.bad_bmc(host.clone()));
        }
        if self.plan.kinds.contains(&Kind::Hypervisors) && self.chance.percent(40) {
            let others: Vec<&HostId> = sight.hosts.iter().filter(|other| *other != host).collect();
            let target = self.chance.pick(&others).map(|target| (*target).clone());
            spoilt.extend(target.map(|target| self.bad_hypervisor(target)));
        }
        for (fault, (after, end)) in spoilt {
            self.pending.extend([(now, fault), (now + after, end)]);
        }
    }

    fn crash(&mut self, sight: &Sight) -> Option<Blowing> {
        let blow = if self.chance.percent(50) { Blow::Kill } else { Blow::PowerCut };
        let after = self.chance.time(Millis(100), Millis(15_000));
        if self.chance.percent(8) {
            let start = Fault::Controller(Which::All, Blow::Start);
            return Some((Fault::Controller(Which::All, blow), Some((after, start))));
        }
        let id = controller(&mut self.chance, sight)?;
        let start = Fault::Controller(Which::One(id), Blow::Start);
        Some((Fault::Controller(Which::One(id), blow), Some((after, start))))
    }

    fn pause(&mut self, sight: &Sight) -> Option<Blowing> {
        let id = controller(&mut self.chance, sight)?;
        // Long enough for an election, sometimes past the life of a permit.
        let longest = if self.chance.percent(20) { Millis(60_000) } else { Millis(6000) };
        let time = self.chance.time(Millis(200), longest);
        Some((Fault::Controller(Which::One(id), Blow::Pause(time)), None))
    }

    fn cut(&mut self, sight: &Sight) -> Option<Blowing> {
        let after = self.chance.time(Millis(300), Millis(20_000));
        let places: Vec<Place> = match self.chance.below(4) {
            0 => vec![Place::Controller(controller(&mut self.chance, sight)?)],
            1 => vec![Place::Host(host(&mut self.chance, sight)?)],
            2 => vec![Place::Bmc(host(&mut self.chance, sight)?)],
            _ => {
                let from = Place::Controller(controller(&mut self.chance, sight)?);
                let host = host(&mut self.chance, sight)?;
                let other = self.chance.pick(&sight.controllers).copied()?;
                let ends = [Place::Controller(other), Place::Host(host.clone()), Place::Bmc(host)];
                let to = self.chance.pick(&ends)?.clone();
                if self.chance.percent(50) { vec![from, to] } else { vec![to, from] }
            }
        };
        match places.as_slice() {
            [place] => Some((Fault::Isolate(place.clone()), Some((after, Fault::Rejoin(place.clone()))))),
            [from, to] if from != to => {
                let (from, to) = (from.clone(), to.clone());
                let end = Fault::Join { from: from.clone(), to: to.clone() };
                Some((Fault::Cut { from, to }, Some((after, end))))
            }
            _ => None,
        }
    }

    fn weather(&mut self) -> Blowing {
        let percent = |number: u64| u8::try_from(number).unwrap_or(100);
        let weather = Weather {
            loss_percent: percent(self.chance.between(0, 30)),
            duplicate_percent: percent(self.chance.between(0, 10)),
            delay_max: self.chance.time(Millis(0), Millis(1500)),
        };
        let after = self.chance.time(Millis(1000), Millis(15_000));
        (Fault::Weather(weather), Some((after, Fault::Weather(Weather::default()))))
    }

    fn disk(&mut self, sight: &Sight) -> Option<Blowing> {
        let id = controller(&mut self.chance, sight)?;
        let trouble = match self.chance.below(6) {
            0 => DiskTrouble::FailSync,
            1 => DiskTrouble::Full,
            2 => DiskTrouble::Slow(self.chance.time(Millis(5000), Millis(20_000))),
            _ => DiskTrouble::Slow(self.chance.time(Millis(20), Millis(600))),
        };
        let after = self.chance.time(Millis(500), Millis(15_000));
        match trouble {
            // The process ends, and somebody starts it again; that gives it a disk that works.
            DiskTrouble::FailSync | DiskTrouble::Full => {
                let start = Fault::Controller(Which::One(id), Blow::Start);
                Some((Fault::Disk(id, trouble), Some((after, start))))
            }
            DiskTrouble::Slow(_) | DiskTrouble::Works | DiskTrouble::Flip(_) => {
                Some((Fault::Disk(id, trouble), Some((after, Fault::Disk(id, DiskTrouble::Works)))))
            }
        }
    }

    fn clock(&mut self, sight: &Sight) -> Option<Blowing> {
        let id = self.chance.pick(&sight.controllers).copied()?;
        let jump = *self.chance.pick(&[-315_360_000_000, -3_600_000, -1500, 900, 3_600_000, 315_360_000_000])?;
        Some((Fault::WallClock(id, jump), None))
    }

    fn host(&mut self, sight: &Sight) -> Option<Blowing> {
        let host = host(&mut self.chance, sight)?;
        let blow = match self.chance.below(5) {
            0 => HostBlow::Reboot,
            1 => HostBlow::Freeze(self.chance.time(Millis(500), Millis(30_000))),
            2 => HostBlow::RestartAgent,
            _ => HostBlow::PowerCut,
        };
        Some((Fault::Host(host, blow), None))
    }

    fn bmc(&mut self, sight: &Sight) -> Option<Blowing> {
        let host = host(&mut self.chance, sight)?;
        let (fault, end) = self.bad_bmc(host);
        Some((fault, Some(end)))
    }

    fn bad_bmc(&mut self, host: HostId) -> (Fault, (Millis, Fault)) {
        let trouble = match self.chance.below(8) {
            0 => BmcTrouble::Silent,
            1 => BmcTrouble::Ignores,
            2 => BmcTrouble::RefusesLogin,
            3 => BmcTrouble::Late(self.chance.time(Millis(300), Millis(20_000))),
            4 => BmcTrouble::Stale,
            5 => BmcTrouble::Busy,
            6 => BmcTrouble::PowersBackOn(self.chance.time(Millis(300), Millis(8000))),
            _ => BmcTrouble::LosesAnswer,
        };
        let after = self.chance.time(Millis(1000), Millis(40_000));
        (Fault::Bmc(host.clone(), trouble), (after, Fault::Bmc(host, BmcTrouble::Works)))
    }

    fn hypervisor(&mut self, sight: &Sight) -> Option<Blowing> {
        let host = host(&mut self.chance, sight)?;
        let (fault, end) = self.bad_hypervisor(host);
        Some((fault, Some(end)))
    }

    fn bad_hypervisor(&mut self, host: HostId) -> (Fault, (Millis, Fault)) {
        let trouble = match self.chance.below(4) {
            0 => HypervisorTrouble::Fails,
            1 => HypervisorTrouble::Hangs,
            2 => HypervisorTrouble::LosesAnswer,
            _ => HypervisorTrouble::Late(self.chance.time(Millis(300), Millis(9000))),
        };
        let after = self.chance.time(Millis(1000), Millis(30_000));
        let end = Fault::Hypervisor(host.clone(), HypervisorTrouble::Works);
        (Fault::Hypervisor(host, trouble), (after, end))
    }

    /// Half of the time long enough for an election, sometimes past the life of a permit.
    fn stall(&mut self, sight: &Sight) -> Option<Blowing> {
        let point = *self.chance.pick(Point::ALL)?;
        let longest = if self.chance.percent(30) { Millis(60_000) } else { Millis(6000) };
        let time = self.chance.time(Millis(200), longest);
        let fault = if point.is_of_agents() {
            Fault::Host(host(&mut self.chance, sight)?, HostBlow::Stall(point, time))
        } else {
            Fault::Controller(Which::One(controller(&mut self.chance, sight)?), Blow::Stall(point, time))
        };
        Some((fault, None))
    }

    fn member(&mut self, sight: &Sight) -> Option<Blowing> {
        let id = controller(&mut self.chance, sight)?;
        let after = self.chance.time(Millis(500), Millis(15_000));
        match self.chance.below(4) {
            0 | 1 if sight.controllers.len() < CONTROLLERS_MAX => Some((Fault::Member(Member::Add), None)),
            0 | 1 => Some((Fault::Member(Member::Remove(id)), None)),
            2 => Some((Fault::Member(Member::Demote(id)), Some((after, Fault::Member(Member::Promote(id)))))),
            _ => Some((Fault::Member(Member::Remove(id)), Some((after, Fault::Member(Member::Add))))),
        }
    }

    /// A damaged controller is started again, here or when all is healed: it must refuse, or never read what is wrong.
    fn damage(&mut self, sight: &Sight) -> Option<Blowing> {
        let id = controller(&mut self.chance, sight)?;
        let after = self.chance.time(Millis(100), Millis(10_000));
        let kept = match self.chance.below(4) {
            0 => {
                let start = Fault::Controller(Which::One(id), Blow::Start);
                return Some((Fault::Controller(Which::One(id), Blow::Wipe), Some((after, start))));
            }
            1 => Kept::Log,
            2 => Kept::Meta,
            _ => Kept::Records,
        };
        let end = Fault::Controller(Which::One(id), Blow::PowerCut);
        Some((Fault::Disk(id, DiskTrouble::Flip(kept)), Some((after, end))))
    }

    fn person(&mut self, sight: &Sight) -> Option<Blowing> {
        let after = self.chance.time(Millis(500), Millis(15_000));
        let which = Which::One(controller(&mut self.chance, sight)?);
        match self.chance.below(8) {
            0 => Some((Fault::Operator(Deed::Disarm), Some((after, Fault::Operator(Deed::Arm))))),
            1 => {
                let host = host(&mut self.chance, sight)?;
                let end = Fault::Operator(Deed::EndMaintenance(host.clone()));
                Some((Fault::Operator(Deed::StartMaintenance(host)), Some((after, end))))
            }
            2 => Some((Fault::Controller(which, Blow::Snapshot), None)),
            3 => Some((Fault::Controller(Which::Leader, Blow::HandOver), None)),
            4 => Some((Fault::Operator(Deed::Arm), None)),
            5 => {
                let (few, many) = *self.chance.pick(&SETTINGS)?;
                Some((Fault::Operator(Deed::Set(few.into())), Some((after, Fault::Operator(Deed::Set(many.into()))))))
            }
            6 => {
                let host = host(&mut self.chance, sight)?;
                let other = self.chance.pick(&LEVELS).and_then(|words| Levels::read(words.iter().copied()).ok())?;
                let usual = Levels(vec![vec![Gear::Bmc]]);
                let end = Fault::Operator(Deed::Enrol(host.clone(), usual));
                Some((Fault::Operator(Deed::Enrol(host, other)), Some((after, end))))
            }
            _ => Some((Fault::Operator(Deed::ConfirmDead(host(&mut self.chance, sight)?)), None)),
        }
    }

    /// Somebody moves an instance to a host that runs, or ends one. Often one of the two hosts, or the way to one of
    /// them, breaks while it moves.
    fn hands(&mut self, now: Millis, sight: &Sight) -> Option<Blowing> {
        let (name, home) = self.chance.pick(&sight.homes)?.clone();
        if self.chance.percent(20) {
            return Some((Fault::Instance(name, Hands::End), None));
        }
        let others: Vec<&HostId> = sight.up.iter().filter(|other| **other != home).collect();
        let to = (*self.chance.pick(&others)?).clone();
        if self.chance.percent(50) {
            let end = if self.chance.percent(50) { home } else { to.clone() };
            let at = now + self.chance.time(Millis::ZERO, Millis(2500));
            let after = at + self.chance.time(Millis(2000), Millis(15_000));
            let place = Place::Host(end.clone());
            match self.chance.below(4) {
                0 => self.pending.push((at, Fault::Host(end, HostBlow::PowerCut))),
                1 => self.pending.push((at, Fault::Host(end, HostBlow::Reboot))),
                2 => {
                    self.pending.push((at, Fault::Host(end, HostBlow::Stall(Point::AgentBeforeInventory, after - at))))
                }
                _ => self.pending.extend([(at, Fault::Isolate(place.clone())), (after, Fault::Rejoin(place))]),
            }
        }
        Some((Fault::Instance(name, Hands::Move(to)), None))
    }
}

/// Settings that a person turns down and up again.
const SETTINGS: [(&str, &str); 4] = [
    ("starts_per_host_max = 1", "starts_per_host_max = 4"),
    ("max_restart_attempts = 1", "max_restart_attempts = 3"),
    ("storm_fences_max = 1", "storm_fences_max = 5"),
    ("fences_in_flight_max = 1", "fences_in_flight_max = 2"),
];

/// Levels that a person enrols for a while.
const LEVELS: [&[&str]; 3] = [&["bmc", "pdu"], &["pdu"], &["bmc+pdu"]];

/// A fault, and what ends it how much later.
type Blowing = (Fault, Option<(Millis, Fault)>);

/// Every second time the leader, where there is one.
fn controller(chance: &mut Chance, sight: &Sight) -> Option<ControllerId> {
    match sight.leader {
        Some(leader) if chance.percent(50) => Some(leader),
        Some(_) | None => chance.pick(&sight.controllers).copied(),
    }
}

/// Six times in ten a host that matters right now, where there is one.
fn host(chance: &mut Chance, sight: &Sight) -> Option<HostId> {
    let matter: Vec<&HostId> = sight.fenced.iter().chain(&sight.targets).collect();
    match chance.percent(60).then(|| chance.pick(&matter)).flatten() {
        Some(host) => Some((*host).clone()),
        None => chance.pick(&sight.hosts).cloned(),
    }
}

#[cfg(test)]
mod tests;
