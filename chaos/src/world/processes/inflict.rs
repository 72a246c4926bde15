//! From faults to what they do to processes.

use std::time::Duration;

use anyhow::Context;
use quorumfence_drivers::lab::{BmcMode, HypervisorMode};
use quorumfence_machine::{ControllerId, HostId};

use super::Processes;
use super::controllers::stall;
use super::found::words;
use crate::fault::{Blow, BmcTrouble, Deed, DiskTrouble, Fault, Gear, Hands, HostBlow, Levels, Weather, Which};
use crate::observation::Seen;
use crate::world::sim::{bmc_mode, hypervisor_mode, lay_hands};

/// Says why this world cannot do a fault, where it cannot.
pub fn supports(fault: &Fault) -> Result<(), &'static str> {
    match fault {
        Fault::Controller(_, Blow::Snapshot) => Err("no verb of the product asks a controller for a snapshot"),
        Fault::Disk(_, DiskTrouble::Flip(_)) => {
            Err("nobody outside can tell which byte of RocksDB's files holds what; the disk's own tests flip them")
        }
        Fault::Operator(Deed::Enrol(_, levels)) => drives(levels),
        Fault::Controller(
            _,
            Blow::Kill | Blow::PowerCut | Blow::Start | Blow::Pause(_) | Blow::HandOver | Blow::Stall(..) | Blow::Wipe,
        )
        | Fault::Disk(_, DiskTrouble::Works | DiskTrouble::Slow(_) | DiskTrouble::FailSync | DiskTrouble::Full)
        | Fault::Cut { .. }
        | Fault::Join { .. }
        | Fault::Isolate(_)
        | Fault::Rejoin(_)
        | Fault::Weather(_)
        | Fault::Host(..)
        | Fault::Bmc(..)
        | Fault::Hypervisor(..)
        | Fault::WallClock(..)
        | Fault::Member(_)
        | Fault::Instance(..)
        | Fault::Explain(_)
        | Fault::Operator(
            Deed::Arm
            | Deed::Disarm
            | Deed::StartMaintenance(_)
            | Deed::EndMaintenance(_)
            | Deed::ConfirmDead(_)
            | Deed::InsistDead(_)
            | Deed::Set(_),
        )
        | Fault::Heal => Ok(()),
    }
}

/// Says why a host cannot be fenced with these levels here, where it cannot.
pub(super) fn drives(levels: &Levels) -> Result<(), &'static str> {
    for level in &levels.0 {
        match level.as_slice() {
            [Gear::Bmc | Gear::BmcOf(_)] => {}
            [Gear::Pdu] => return Err("the product has no driver for power outlets"),
            [Gear::Ipmi] => return Err("here every BMC speaks IPMI, and no driver refuses it"),
            [Gear::StrangeBmc] => return Err("every BMC of this world belongs to one of its hosts"),
            [Gear::CabledTo(_)] => return Err("the command line enrols no device that names no machine"),
            _ => return Err("the command line enrols one device a level"),
        }
    }
    Ok(())
}

impl Processes {
    /// Does what a fault says.
    ///
    /// # Errors
    ///
    /// This world cannot do it, or it could not be done.
    pub(super) fn inflict(&mut self, fault: &Fault) -> anyhow::Result<()> {
        supports(fault).map_err(|why| anyhow::anyhow!("'{fault}' cannot be done to processes: {why}"))?;
        self.record.see(Seen::Fault { what: fault.to_string() });
        match fault {
            Fault::Controller(which, blow) => {
                self.chosen(*which).into_iter().try_for_each(|id| self.strike(id, *blow))?;
            }
            Fault::Disk(id, trouble) => self.trouble_disk(*id, *trouble),
            Fault::WallClock(id, millis) => self.jump(*id, *millis)?,
            Fault::Member(change) => self.change_members(*change),
            Fault::Instance(name, hands) => {
                let Some(domain) = self.domains.get(name) else { return Ok(()) };
                match hands {
                    Hands::Move(to) => self.move_by_hand(domain.instance, to)?,
                    Hands::End | Hands::Start(_) | Hands::Migrate(_) => lay_hands(&self.laboratory, domain, hands),
                }
            }
            Fault::Explain(host) => self.explain(host)?,
            Fault::Cut { from, to } => self.net.cut(from.clone(), to.clone()),
            Fault::Join { from, to } => self.net.join(from, to),
            Fault::Isolate(place) => self.net.isolate(place.clone()),
            Fault::Rejoin(place) => self.net.rejoin(place),
            Fault::Weather(weather) => self.net.set_weather(*weather),
            Fault::Host(host, blow) => self.strike_host(host, *blow)?,
            // A BMC that goes on telling Off of a host that is on again lies. Against a liar there is no defence but a
            // second witness, which no level has here.
            Fault::Bmc(host, BmcTrouble::Stale) if !self.laboratory.is_on(host) => {}
            Fault::Bmc(host, trouble) => self.laboratory.set_bmc(host, bmc_mode(*trouble)),
            Fault::Hypervisor(host, trouble) => self.laboratory.set_hypervisor(host, hypervisor_mode(*trouble)),
            Fault::Operator(deed) => self.act(deed)?,
            Fault::Heal => self.heal()?,
        }
        Ok(())
    }

    fn chosen(&self, which: Which) -> Vec<ControllerId> {
        match which {
            Which::One(id) => vec![id],
            Which::Leader => self.leader().into_iter().collect(),
            Which::All => self.seats.keys().copied().collect(),
        }
    }

    fn strike(&mut self, id: ControllerId, blow: Blow) -> anyhow::Result<()> {
        match blow {
            Blow::Kill => self.kill(id),
            Blow::PowerCut => self.cut_controller(id)?,
            Blow::Start => self.start(id)?,
            Blow::Pause(time) => self.hold(id, time.into())?,
            // The product hands over when it is told to stop, and only then.
            Blow::HandOver => self.restart_in_order(id)?,
            Blow::Stall(point, time) => self.stall(id, point, time)?,
            Blow::Wipe => self.wipe(id)?,
            Blow::Snapshot => {}
        }
        Ok(())
    }

    fn strike_host(&mut self, host: &HostId, blow: HostBlow) -> anyhow::Result<()> {
        match blow {
            HostBlow::PowerCut => self.laboratory.cut_power(host),
            HostBlow::PowerOn => self.restore_power(host),
            HostBlow::Reboot => {
                self.laboratory.cut_power(host);
                self.restore_power(host);
            }
            HostBlow::Freeze(time) => self.freeze(host, Duration::from(time))?,
            HostBlow::RestartAgent => self.restart_agent(host),
            HostBlow::Stall(point, time) => stall(&self.place.join(host.as_str()), point, time)?,
        }
        self.tend_hosts()
    }

    fn act(&mut self, deed: &Deed) -> anyhow::Result<()> {
        let why = ["--reason", "by hand"];
        let said = match deed {
            Deed::Arm => vec!["arm"],
            Deed::Disarm => vec!["disarm"],
            Deed::StartMaintenance(host) => vec!["host", "maintenance", "on", host.as_str()],
            Deed::EndMaintenance(host) => vec!["host", "maintenance", "off", host.as_str()],
            // A person who confirms a living host breaks every promise by hand; this one looks first.
            Deed::ConfirmDead(host) if self.laboratory.is_on(host) => return Ok(()),
            Deed::ConfirmDead(host) | Deed::InsistDead(host) => vec!["--yes", "host", "confirm-dead", host.as_str()],
            Deed::Enrol(host, levels) => {
                let enrolment = self.enrol_words(host, levels)?;
                return self.operator.begin(&words(&enrolment)).context("a deed");
            }
            Deed::Set(line) => return self.change_settings(line),
        };
        self.operator.begin(&[&said[..], &why].concat()).context("a deed")
    }

    /// Mends everything, starts whoever stopped, and opens the brakes.
    fn heal(&mut self) -> anyhow::Result<()> {
        self.net.heal();
        self.net.set_weather(Weather::default());
        for host in self.stations.keys() {
            self.laboratory.set_bmc(host, BmcMode::Works);
            self.laboratory.set_hypervisor(host, HypervisorMode::Works);
        }
        for id in self.seats.keys().copied().collect::<Vec<_>>() {
            self.trouble_disk(id, DiskTrouble::Works);
        }
        self.mend_clocks()?;
        self.thaw()?;
        self.resume_controllers()?;
        self.heal_members();
        self.start_all()
    }

    /// Starts every controller that does not run and is whole, as its service manager would.
    pub(super) fn start_all(&mut self) -> anyhow::Result<()> {
        let whole: Vec<ControllerId> = self.seats.keys().copied().filter(|id| !self.is_broken(*id)).collect();
        whole.into_iter().try_for_each(|id| self.start(id))
    }
}
