//! From faults to what they do to processes, cables, power and BMCs.

use std::time::Duration;

use anyhow::{Context, anyhow};
use quorumfence_machine::{ControllerId, HostId, Millis, Power, WallMillis};
use quorumfence_node::demo::hosts::Host;

use super::{World, told, wall};
use crate::fault::{Blow, BmcTrouble, Deed, Fault, HostBlow, HypervisorTrouble, Place, Which};
use crate::observation::Seen;

/// An operator's command that takes longer may still have done what it should.
const DEED_LIMIT: Duration = Duration::from_secs(5);

/// Somebody who goes on at some time.
#[derive(Debug)]
pub(super) struct Waking {
    at: WallMillis,
    who: Sleeper,
}

#[derive(Debug)]
enum Sleeper {
    Controller(ControllerId),
    Agent(HostId),
}

impl World {
    /// Does what a fault says. One that meets nobody (an agent of a host without power) is told to be without effect.
    pub(super) fn inflict(&mut self, fault: &Fault) {
        self.tell(Seen::Fault { what: fault.to_string() });
        if let Err(error) = self.strike(fault) {
            self.tell(Seen::Fault { what: format!("{fault}: without effect, {error:#}") });
        }
    }

    /// Lets those go on whose time has come.
    pub(super) fn wake(&mut self, now: WallMillis) {
        let (due, later) = std::mem::take(&mut self.wakings).into_iter().partition(|waking| waking.at <= now);
        self.wakings = later;
        let due: Vec<Waking> = due;
        for waking in due {
            let woken = match &waking.who {
                Sleeper::Controller(id) => {
                    self.frozen.remove(id);
                    self.cluster.thaw(*id).map_err(told)
                }
                Sleeper::Agent(host) => self.powered(host).and_then(|host| Ok(host.thaw_command()?)),
            };
            if let Err(error) = woken {
                self.tell(Seen::Fault { what: format!("{:?} does not go on: {error:#}", waking.who) });
            }
        }
    }

    fn strike(&mut self, fault: &Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Controller(which, blow) => {
                self.chosen(*which).into_iter().try_for_each(|id| self.strike_controller(id, *blow))
            }
            Fault::Isolate(Place::Host(host)) => Ok(self.host(host)?.isolate()?),
            Fault::Rejoin(Place::Host(host)) => Ok(self.host(host)?.heal()?),
            // Its port is closed, and what it was about to do is forgotten.
            Fault::Isolate(Place::Bmc(host)) => {
                self.host(host)?.bmc().kill();
                Ok(())
            }
            Fault::Rejoin(Place::Bmc(host)) => Ok(self.host(host)?.bmc().start()?),
            Fault::Host(host, blow) => self.strike_host(host, *blow),
            // It keeps what it was sent, and answers and obeys when it wakes.
            Fault::Bmc(host, BmcTrouble::Silent) => {
                self.host(host)?.bmc().silence();
                Ok(())
            }
            Fault::Bmc(host, BmcTrouble::Works) => {
                self.host(host)?.bmc().speak();
                Ok(())
            }
            Fault::Hypervisor(host, HypervisorTrouble::Hangs) => Ok(self.powered(host)?.freeze_libvirt()?),
            Fault::Hypervisor(host, HypervisorTrouble::Works) => Ok(self.powered(host)?.thaw_libvirt()?),
            Fault::Operator(deed) => self.act(deed),
            Fault::Heal => {
                self.heal();
                Ok(())
            }
            Fault::Isolate(Place::Controller(_))
            | Fault::Rejoin(Place::Controller(_))
            | Fault::Bmc(_, _)
            | Fault::Hypervisor(_, _)
            | Fault::Disk(_, _)
            | Fault::WallClock(_, _)
            | Fault::Cut { .. }
            | Fault::Join { .. }
            | Fault::Weather(_)
            | Fault::Instance(_, _)
            | Fault::Member(_)
            | Fault::Explain(_) => Err(anyhow!("this world cannot do it")),
        }
    }

    fn chosen(&self, which: Which) -> Vec<ControllerId> {
        match which {
            Which::One(id) => vec![id],
            Which::Leader => self.leader.into_iter().collect(),
            Which::All => self.cluster.controllers(),
        }
    }

    fn strike_controller(&mut self, id: ControllerId, blow: Blow) -> anyhow::Result<()> {
        match blow {
            Blow::Kill => {
                self.frozen.remove(&id);
                self.cluster.kill(id).map_err(told)
            }
            Blow::Start => self.cluster.start(id).map_err(told),
            Blow::Pause(time) => {
                self.frozen.insert(id);
                self.sleeps(Sleeper::Controller(id), time);
                self.cluster.freeze(id).map_err(told)
            }
            Blow::PowerCut | Blow::Snapshot | Blow::HandOver | Blow::Stall(..) | Blow::Wipe => {
                Err(anyhow!("this world cannot do it"))
            }
        }
    }

    fn strike_host(&mut self, id: &HostId, blow: HostBlow) -> anyhow::Result<()> {
        match blow {
            HostBlow::PowerCut => self.cut_power(id),
            HostBlow::PowerOn => Ok(self.host(id)?.power_on()?),
            HostBlow::Reboot => {
                self.cut_power(id)?;
                Ok(self.host(id)?.power_on()?)
            }
            HostBlow::Freeze(time) => {
                self.powered(id)?.freeze_command()?;
                self.sleeps(Sleeper::Agent(id.clone()), time);
                Ok(())
            }
            HostBlow::RestartAgent => Ok(self.powered(id)?.kill_command()?),
            HostBlow::Stall(..) => Err(anyhow!("this world cannot do it")),
        }
    }

    fn cut_power(&mut self, id: &HostId) -> anyhow::Result<()> {
        let from = wall();
        let cut = self.host(id)?.power_off();
        self.facts.cut(id, from, wall());
        Ok(cut?)
    }

    fn sleeps(&mut self, who: Sleeper, time: Millis) {
        self.wakings.push(Waking { at: WallMillis(wall().0 + time.0), who });
    }

    /// Does what a person does. One who confirms a living host breaks every promise by hand; this one looks first.
    fn act(&mut self, deed: &Deed) -> anyhow::Result<()> {
        let reason = ["--reason", "chaos"];
        let words: Vec<&str> = match deed {
            Deed::Arm => vec!["arm"],
            Deed::Disarm => vec!["disarm"],
            Deed::StartMaintenance(host) => vec!["host", "maintenance", "on", host.as_str()],
            Deed::EndMaintenance(host) => vec!["host", "maintenance", "off", host.as_str()],
            Deed::ConfirmDead(host) if self.host(host)?.power()? == Power::On => return Ok(()),
            Deed::ConfirmDead(host) => vec!["host", "confirm-dead", host.as_str(), "--yes"],
            Deed::InsistDead(_) | Deed::Enrol(..) | Deed::Set(_) => return Err(anyhow!("this world cannot do it")),
        };
        let words = [words.as_slice(), &reason].concat();
        self.cluster.operate(&words, DEED_LIMIT).map(drop).map_err(told)
    }

    /// Mends everything and starts every controller that stopped. Hosts stay as they are.
    fn heal(&mut self) {
        let now = WallMillis(u64::MAX);
        self.wake(now);
        for host in self.cluster.rig().hosts().iter().map(|host| host.id().clone()).collect::<Vec<_>>() {
            let steps = [
                Fault::Rejoin(Place::Host(host.clone())),
                Fault::Rejoin(Place::Bmc(host.clone())),
                Fault::Bmc(host.clone(), BmcTrouble::Works),
            ];
            let is_on = self.host(&host).is_ok_and(|host| host.power().is_ok_and(|power| power == Power::On));
            let libvirt = is_on.then(|| Fault::Hypervisor(host.clone(), HypervisorTrouble::Works));
            for step in steps.into_iter().chain(libvirt) {
                if let Err(error) = self.strike(&step) {
                    self.tell(Seen::Fault { what: format!("{step}: without effect, {error:#}") });
                }
            }
        }
        for id in self.cluster.controllers() {
            if let Err(error) = self.cluster.start(id) {
                self.tell(Seen::Fault { what: format!("{id} does not start: {error}") });
            }
        }
    }

    pub(super) fn host(&self, id: &HostId) -> anyhow::Result<&Host> {
        let mut hosts = self.cluster.rig().hosts().iter();
        hosts.find(|host| host.id() == id).with_context(|| format!("this world has no {id}"))
    }

    /// Returns a host that has power.
    fn powered(&self, id: &HostId) -> anyhow::Result<&Host> {
        let host = self.host(id)?;
        match host.power()? {
            Power::On => Ok(host),
            Power::Off => Err(anyhow!("{id} has no power")),
        }
    }
}
