//! From faults to what they do in the simulation.

use std::time::Duration;

use quorumfence_drivers::lab::{BmcMode, HypervisorMode};
use quorumfence_machine::{Actor, BootId, Change, ControllerId, HostId, Millis, Settings, State};
use quorumfence_raft::{Expect, Point};
use quorumfence_storage::Column;

use super::asides::Aside;
use super::disk::Trouble;
use super::network::{Place as Spot, Weather as Sky};
use super::workload::hand_over;
use super::{Person, Sim};
use crate::fault::{
    Blow, BmcTrouble, Deed, DiskTrouble, Fault, HostBlow, HypervisorTrouble, Kept, Place, Weather, Which,
};
use crate::observation::Seen;
use crate::story;

impl Sim {
    /// Does what a fault says.
    pub(super) fn inflict(&mut self, fault: &Fault) {
        self.record.see(Seen::Fault { what: fault.to_string() });
        match fault {
            Fault::Controller(which, blow) => {
                for id in self.chosen(*which) {
                    self.strike(id, *blow);
                }
            }
            Fault::Disk(id, trouble) => self.trouble_disk(*id, *trouble),
            Fault::WallClock(id, millis) => self.jump_wall(*id, *millis),
            Fault::Cut { from, to } => self.ether.cut(spot(from), spot(to)),
            Fault::Join { from, to } => self.ether.heal(&spot(from), &spot(to)),
            Fault::Isolate(place) => self.ether.cut_all(spot(place)),
            Fault::Rejoin(place) => self.ether.heal_place(&spot(place)),
            Fault::Weather(weather) => self.ether.set_weather(sky(*weather)),
            Fault::Host(host, blow) => self.strike_host(host, *blow),
            // A BMC that goes on telling Off of a host that is on again lies. Against a liar there is no defence but a
            // second witness, which no level has here.
            Fault::Bmc(host, BmcTrouble::Stale) if !self.laboratory().is_on(host) => {}
            Fault::Bmc(host, trouble) => self.laboratory().set_bmc(host, bmc(*trouble)),
            Fault::Hypervisor(host, trouble) => self.laboratory().set_hypervisor(host, hypervisor(*trouble)),
            Fault::Instance(name, hands) => self.lay_hands_on(name, hands),
            Fault::Operator(deed) => self.act(deed),
            Fault::Member(change) => self.change_members(*change),
            Fault::Explain(host) => self.explain(host),
            Fault::Heal => self.heal(),
        }
    }

    fn chosen(&self, which: Which) -> Vec<ControllerId> {
        match which {
            Which::One(id) => vec![id],
            Which::Leader => self.leader().into_iter().collect(),
            Which::All => self.seats.keys().copied().collect(),
        }
    }

    fn strike(&mut self, id: ControllerId, blow: Blow) {
        match blow {
            Blow::Kill => self.kill(id),
            Blow::PowerCut => {
                let keep = self.chance.draw();
                self.crash(id, keep);
            }
            // Whoever was removed left with the machine: another one under that id, with an empty disk, would vote.
            Blow::Start if self.seats.contains_key(&id) => self.start(id, Expect::Existing),
            Blow::Start => {}
            Blow::Pause(time) => self.hold(id, time.into()),
            Blow::Snapshot => self.on(id, |replica| async move { replica.snapshot().await }),
            Blow::HandOver => self.on(id, hand_over),
            Blow::Stall(point, time) => self.stall(id, point, time),
            Blow::Wipe => self.wipe(id),
        }
    }

    fn stall(&self, id: ControllerId, point: Point, time: Millis) {
        if let Some(seat) = self.seats.get(&id) {
            seat.node.stall(point, time.into());
        }
    }

    fn trouble_disk(&mut self, id: ControllerId, trouble: DiskTrouble) {
        match trouble {
            DiskTrouble::Works => self.set_disk(id, Trouble::None),
            DiskTrouble::Slow(time) => self.set_disk(id, Trouble::Slow(time.into())),
            DiskTrouble::FailSync => self.set_disk(id, Trouble::FailSync),
            DiskTrouble::Full => self.set_disk(id, Trouble::Full),
            DiskTrouble::Flip(kept) => self.flip(
                id,
                match kept {
                    Kept::Log => Column::Log,
                    Kept::Meta => Column::Meta,
                    Kept::Records => Column::Records,
                },
            ),
        }
    }

    fn strike_host(&mut self, host: &HostId, blow: HostBlow) {
        match blow {
            HostBlow::PowerCut => self.cut_power(host),
            HostBlow::PowerOn => self.restore_power(host),
            HostBlow::Reboot => {
                self.cut_power(host);
                self.restore_power(host);
            }
            HostBlow::Freeze(time) => self.freeze(host, time.into()),
            HostBlow::RestartAgent => self.restart_agent(host),
            HostBlow::Stall(point, time) => {
                if let Some(seated) = self.hosts.get(host) {
                    seated.node.stall(point, time.into());
                }
            }
        }
    }

    fn act(&self, deed: &Deed) {
        let Person { name, reason } = self.operator;
        let (by, reason) = (Actor::Operator(name.into()), reason.to_string());
        let change = match deed {
            Deed::Arm => Change::Arm { reason },
            Deed::Disarm => Change::Disarm { reason },
            Deed::StartMaintenance(host) => Change::HostMaintenance { host: host.clone(), reason: Some(reason) },
            Deed::EndMaintenance(host) => Change::HostMaintenance { host: host.clone(), reason: None },
            // A person who confirms a living host breaks every promise by hand; this one looks first.
            Deed::ConfirmDead(host) if self.laboratory().is_on(host) => return,
            Deed::ConfirmDead(host) | Deed::InsistDead(host) => {
                let boot = self.told_boot(host);
                Change::HostConfirmDead { host: host.clone(), reason, boot }
            }
            Deed::Enrol(host, levels) => match self.enrolled_with(host, levels) {
                Some(enrolment) => Change::HostEnrol { host: host.clone(), enrolment },
                None => return,
            },
            Deed::Set(line) => match self.settings_with(line) {
                Ok(settings) => Change::SettingsSet { settings },
                Err(why) => return self.tell(Aside::Refused(why)),
            },
        };
        let Some(id) = self.leader().or_else(|| self.ids().first().copied()) else {
            return self.tell(Aside::NoAnswer);
        };
        let (asides, laboratory) = (self.asides.clone(), self.laboratory().clone());
        self.on(id, |replica| async move {
            if let Err(why) = replica.propose(by, None, change).await {
                asides.tell(laboratory.now(), Aside::Refused(why.to_string()));
            }
        });
    }

    /// Returns the boot that a person sees who looks at a host now.
    fn told_boot(&self, host: &HostId) -> Option<BootId> {
        let id = self.leader().or_else(|| self.ids().first().copied())?;
        self.read(id, |state| state.host(host)?.agent.as_ref().map(|agent| agent.boot)).flatten()
    }

    fn tell(&self, aside: Aside) {
        self.asides.tell(self.laboratory().now(), aside);
    }

    /// Returns the settings in force with one of them changed.
    fn settings_with(&self, line: &str) -> Result<Settings, String> {
        let leader = self.leader().or_else(|| self.ids().first().copied());
        let settings = leader.and_then(|id| self.read(id, State::settings)).unwrap_or_default();
        story::changed(&settings, line).map_err(|error| error.to_string())
    }

    /// Mends everything, starts whoever stopped, and opens the brakes.
    fn heal(&mut self) {
        self.ether.heal_all();
        self.ether.set_weather(Sky::FAIR);
        let hosts: Vec<HostId> = self.hosts.keys().cloned().collect();
        for host in &hosts {
            self.laboratory().set_bmc(host, BmcMode::Works);
            self.laboratory().set_hypervisor(host, HypervisorMode::Works);
        }
        for seated in self.hosts.values() {
            seated.node.resume();
            seated.node.end_stalls();
        }
        for id in self.seats.keys().copied().collect::<Vec<_>>() {
            self.set_disk(id, Trouble::None);
            self.seats[&id].node.resume();
            self.seats[&id].node.end_stalls();
            self.start(id, Expect::Existing);
        }
        self.heal_members();
    }
}

fn spot(place: &Place) -> Spot {
    match place {
        Place::Controller(id) => Spot::Controller(*id),
        Place::Host(host) => Spot::Host(host.clone()),
        Place::Bmc(host) => Spot::Bmc(host.clone()),
    }
}

fn sky(weather: Weather) -> Sky {
    let delay_max = Duration::from(weather.delay_max.max(Millis(3)));
    Sky { loss_percent: weather.loss_percent, duplicate_percent: weather.duplicate_percent, delay_max }
}

pub(in crate::world) fn bmc(trouble: BmcTrouble) -> BmcMode {
    match trouble {
        BmcTrouble::Works => BmcMode::Works,
        BmcTrouble::Silent => BmcMode::Silent,
        BmcTrouble::Ignores => BmcMode::Ignores,
        BmcTrouble::RefusesLogin => BmcMode::RefusesLogin,
        BmcTrouble::Late(time) => BmcMode::Late(time.into()),
        BmcTrouble::Stale => BmcMode::Stale,
        BmcTrouble::Busy => BmcMode::Busy,
        BmcTrouble::PowersBackOn(time) => BmcMode::PowersBackOn(time.into()),
        BmcTrouble::LosesAnswer => BmcMode::LosesAnswer,
    }
}

pub(in crate::world) fn hypervisor(trouble: HypervisorTrouble) -> HypervisorMode {
    match trouble {
        HypervisorTrouble::Works => HypervisorMode::Works,
        HypervisorTrouble::Fails => HypervisorMode::Fails,
        HypervisorTrouble::Hangs => HypervisorMode::Hangs,
        HypervisorTrouble::LosesAnswer => HypervisorMode::LosesAnswer,
        HypervisorTrouble::Late(time) => HypervisorMode::Late(time.into()),
    }
}
