//! Whether anything kept a host from being heard when a majority condemned it.
//!
//! Votes are the product's own words. What the world did to hosts, controllers and the network between them is not: a
//! host that lives and was well is condemned for nothing (rule 21). Judged only in a calm, so that no vote rests on what
//! happened before; whatever this module does not understand is no calm. On a real machine nobody knows what else kept a
//! process from running, so there it judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{BootId, Event, HostId, Millis, Settings};

use crate::fault::{Blow, BmcTrouble, DiskTrouble, Fault, HostBlow, HypervisorTrouble, Place, Weather, Which};
use crate::observation::{Observation, Seen};

/// How long after the last disturbance nothing of it is left in any vote: several times the longest patience.
const CALM: Millis = Millis(20_000);

/// Hosts that are cut off this close to each other lost one network.
const TOGETHER: Millis = Millis(100);

/// How long after its network is back a host may need until it is heard.
const RETURN: Millis = Millis(3000);

/// What is left of a length of time on the fastest clock, in percent.
const FAST_CLOCK_PERCENT: u64 = 95;

/// What is known of the ways between hosts and controllers.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    is_on_a_real_machine: bool,
    hosts: BTreeMap<HostId, Seat>,
    /// The segment's share of the patience.
    threshold: Millis,
    /// How long a host is silent at least before it is condemned, from when it was cut off, by the least patient settings
    /// of the run: a host may be silent already when they change.
    patience: Option<Millis>,
    /// What goes on and may keep anybody from being heard.
    troubles: BTreeSet<String>,
    /// When the last thing happened, or ends, that may keep anybody from being heard.
    disturbed: Millis,
    judged: u64,
}

/// What is known of one host.
#[derive(Debug, Default)]
struct Seat {
    /// The boot that it runs, once its power was seen to change.
    boot: Option<Option<BootId>>,
    admitted: Option<BootId>,
    /// When it was last cut off from everybody, and when it came back.
    cut: Option<(Millis, Option<Millis>)>,
    /// What goes on there.
    troubles: BTreeSet<&'static str>,
    /// When the last thing happened, or ends, that may keep it alone from being heard.
    disturbed: Millis,
}

impl Hearing {
    /// Returns one that judges nothing.
    pub(super) fn on_a_real_machine() -> Self {
        Self { is_on_a_real_machine: true, ..Self::default() }
    }

    /// Returns how often a loss was judged.
    pub(super) fn judged(&self) -> u64 {
        self.judged
    }

    /// Takes in what the world does.
    pub(super) fn see(&mut self, observation: &Observation) {
        let at = observation.at;
        match &observation.seen {
            Seen::PowerOn { host, boot } => {
                let seat = self.seat(host);
                (seat.boot, seat.disturbed) = (Some(Some(*boot)), at);
            }
            Seen::PowerOff { host, .. } => {
                let seat = self.seat(host);
                (seat.boot, seat.disturbed) = (Some(None), at);
            }
            Seen::Fault { what } => match what.parse() {
                Ok(fault) => self.fault(&fault, at),
                Err(_) => drop(self.troubles.insert(what.clone())),
            },
            Seen::Stopped { .. } | Seen::Running { .. } | Seen::Installed { .. } | Seen::Healed => self.disturb(at),
            Seen::Opened { settings, segment, .. } => {
                self.threshold = segment.check_interval.times(u64::from(segment.failure_threshold));
                self.patience = Some(self.patience_of(settings));
            }
            Seen::OffTaken { .. }
            | Seen::Started { .. }
            | Seen::Ended { .. }
            | Seen::OffSent { .. }
            | Seen::Applied { .. }
            | Seen::Called { .. }
            | Seen::Answered { .. }
            | Seen::Closed => {}
        }
    }

    /// Takes in one event of a committed entry.
    ///
    /// # Errors
    /// Says that a host was condemned although nothing kept it from being heard, or although nobody was heard.
    pub(super) fn take(&mut self, event: &Event, at: Millis) -> Result<(), String> {
        if let Event::HostAdmitted { host, boot } = event {
            let seat = self.seat(host);
            (seat.admitted, seat.disturbed) = (Some(*boot), at);
        } else if let Event::VotersChanged { .. } = event {
            self.disturb(at);
        } else if let Event::SettingsChanged { settings } = event {
            let patience = settings.as_ref().map(|settings| self.patience_of(settings));
            self.patience = self.patience.zip(patience).map(|(former, present)| former.min(present));
        } else if let Event::HostLost { host, .. } = event {
            return self.lost(host, at);
        } else if let Event::HostRebooted { host, .. } = event {
            return self.rebooted(host);
        }
        Ok(())
    }

    /// That a host rebooted is a fact of the hardware, however late it is told, and on any machine.
    fn rebooted(&mut self, host: &HostId) -> Result<(), String> {
        let Some(seat) = self.hosts.get(host) else { return Ok(()) };
        let Some(runs) = seat.boot else { return Ok(()) };
        self.judged += 1;
        if runs.is_some() && runs == seat.admitted {
            return Err("although it runs the boot that it was admitted in".into());
        }
        Ok(())
    }

    fn lost(&mut self, host: &HostId, at: Millis) -> Result<(), String> {
        let is_calm = !self.is_on_a_real_machine && self.troubles.is_empty() && self.disturbed + CALM <= at;
        let Some(seat) = self.hosts.get(host).filter(|seat| is_calm && seat.is_well(at)) else { return Ok(()) };
        self.judged += 1;
        let Some((cut, back)) = seat.cut else {
            return Err("although it lives and nothing kept it from being heard".into());
        };
        if self.patience.is_some_and(|patience| at < cut + patience) {
            return Err(format!("although it lives and was cut off for {} only", at - cut));
        }
        if back.is_some_and(|back| back + CALM <= at) {
            return Err("although it lives and is back on the network for long".into());
        }
        let lost_with_it =
            |other: &&Seat| other.cut.is_some_and(|(other, _)| (other - cut).max(cut - other) <= TOGETHER);
        let together = self.hosts.values().filter(|other| other.is_well(at)).filter(lost_with_it).count();
        let is_their_network = 2 * together > self.hosts.len();
        if is_their_network && back.is_none_or(|back| at <= back + RETURN) {
            return Err(format!(
                "although it lives, and {together} of {} hosts lost the network with it",
                self.hosts.len()
            ));
        }
        Ok(())
    }

    fn fault(&mut self, fault: &Fault, at: Millis) {
        match fault {
            Fault::Isolate(Place::Host(host)) => {
                let seat = self.seat(host);
                if seat.cut.is_none_or(|(_, back)| back.is_some()) {
                    seat.cut = Some((at, None));
                }
            }
            Fault::Rejoin(Place::Host(host)) => self.seat(host).is_back(at),
            Fault::Isolate(place @ Place::Controller(_)) => drop(self.troubles.insert(format!("isolate {place}"))),
            Fault::Rejoin(place @ Place::Controller(_)) => self.ends(&format!("isolate {place}"), at),
            Fault::Cut { from, to } => drop(self.troubles.insert(format!("{from} -> {to}"))),
            Fault::Join { from, to } => self.ends(&format!("{from} -> {to}"), at),
            Fault::Weather(weather) if *weather == Weather::default() => self.ends("weather", at),
            Fault::Weather(_) => drop(self.troubles.insert("weather".into())),
            Fault::Disk(id, DiskTrouble::Works) => self.ends(&format!("disk {id}"), at),
            Fault::Disk(id, _) => drop(self.troubles.insert(format!("disk {id}"))),
            Fault::Controller(_, Blow::Stall(..)) => drop(self.troubles.insert("stall".into())),
            Fault::Controller(_, Blow::Pause(time)) => self.disturb(at + *time),
            Fault::Controller(Which::One(id), Blow::Start) => self.ends(&format!("disk {id}"), at),
            Fault::Controller(..) | Fault::Member(_) => self.disturb(at),
            Fault::Host(host, blow) => self.seat(host).suffer(*blow, at),
            Fault::Bmc(host, trouble) => self.seat(host).turn("bmc", *trouble == BmcTrouble::Works, at),
            Fault::Hypervisor(host, trouble) => {
                self.seat(host).turn("hypervisor", *trouble == HypervisorTrouble::Works, at);
            }
            Fault::Heal => {
                self.troubles.clear();
                self.disturb(at);
                for seat in self.hosts.values_mut() {
                    seat.troubles.clear();
                    seat.is_back(at);
                }
            }
            // Wall clocks decide nothing, and what people and tools do is not between a host and its controllers.
            Fault::WallClock(..) | Fault::Instance(..) | Fault::Operator(_) | Fault::Explain(_) => {}
            Fault::Isolate(Place::Bmc(_)) | Fault::Rejoin(Place::Bmc(_)) => {}
        }
    }

    fn patience_of(&self, settings: &Settings) -> Millis {
        let patience = self.threshold.max(settings.suspect_after) - settings.heartbeat_interval;
        Millis(patience.0 / 100 * FAST_CLOCK_PERCENT)
    }

    fn ends(&mut self, trouble: &str, at: Millis) {
        self.troubles.remove(trouble);
        self.disturb(at);
    }

    fn disturb(&mut self, at: Millis) {
        self.disturbed = self.disturbed.max(at);
    }

    fn seat(&mut self, host: &HostId) -> &mut Seat {
        self.hosts.entry(host.clone()).or_default()
    }
}

impl Seat {
    /// Returns whether the host runs the boot that was admitted, undisturbed for long but for its network.
    fn is_well(&self, at: Millis) -> bool {
        let runs = self.admitted.is_some() && self.boot.is_none_or(|boot| boot == self.admitted);
        runs && self.troubles.is_empty() && self.disturbed + CALM <= at
    }

    fn is_back(&mut self, at: Millis) {
        if let Some((_, back @ None)) = &mut self.cut {
            *back = Some(at);
        }
    }

    fn suffer(&mut self, blow: HostBlow, at: Millis) {
        let until = match blow {
            HostBlow::Freeze(time) => at + time,
            HostBlow::PowerCut | HostBlow::PowerOn | HostBlow::Reboot | HostBlow::RestartAgent => at,
            // Nobody knows when somebody comes by.
            HostBlow::Stall(..) => {
                self.troubles.insert("stall");
                at
            }
        };
        self.disturbed = self.disturbed.max(until);
    }

    fn turn(&mut self, what: &'static str, works: bool, at: Millis) {
        self.disturbed = self.disturbed.max(at);
        if works {
            self.troubles.remove(what);
        } else {
            self.troubles.insert(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use quorumfence_machine::{ControllerId, Verdict};

    use super::*;
    use crate::invariants::sample::{Story, acquits, admitted, boot, convicts, host, lost, rebooted};
    use crate::invariants::{Promise, QuorumOnly};
    use crate::observation::Cause;

    const HOSTS: [(&str, u8); 3] = [("a", 1), ("b", 2), ("c", 3)];

    fn fault(story: Story, what: &str) -> Story {
        story.seen(Seen::Fault { what: what.into() })
    }

    /// Three hosts are up, and it is calm at 30 s.
    fn calm() -> Story {
        let admissions = HOSTS.iter().map(|(name, number)| admitted(name, *number)).collect();
        Story::new().entry(3, vec![voters()]).entry(4, alive()).entry(5, admissions).at(30_000)
    }

    fn voters() -> Event {
        Event::VotersChanged { voters: (1..=3).map(ControllerId).collect() }
    }

    fn votes(name: &str, verdict: Verdict) -> Vec<Event> {
        (1..=3).map(|by| Event::VoteCast { controller: ControllerId(by), host: host(name), verdict }).collect()
    }

    fn alive() -> Vec<Event> {
        HOSTS.iter().flat_map(|(name, number)| votes(name, Verdict::Alive { boot: boot(*number) })).collect()
    }

    /// All condemn host a, and it is lost.
    fn loses_a(story: Story) -> Story {
        story.entry(8, votes("a", Verdict::Unreachable)).entry(9, vec![lost("a")])
    }

    #[test]
    fn a_host_that_runs_its_admitted_boot_has_not_rebooted() {
        let back = |story: Story| story.power_off("a", Cause::Outside).power_on("a", 5);
        let heard = votes("a", Verdict::Alive { boot: boot(5) });
        let again = back(calm()).entry(8, vec![rebooted("a", 5)]).entry(9, heard).entry(10, vec![admitted("a", 5)]);
        acquits::<QuorumOnly>(&again);
        let late = again.at(60_000).entry(11, vec![rebooted("a", 4)]);
        convicts::<QuorumOnly>(&late, "although it runs the boot that it was admitted in");
        acquits::<QuorumOnly>(&calm().power_off("a", Cause::Outside).entry(8, vec![rebooted("a", 5)]));
    }

    #[test]
    fn a_host_that_was_well_is_not_lost() {
        convicts::<QuorumOnly>(&loses_a(calm()), "it lives and nothing kept it from being heard");
        let frozen = fault(calm(), "host a freeze 5s").at(34_000);
        acquits::<QuorumOnly>(&loses_a(frozen.clone()));
        convicts::<QuorumOnly>(&loses_a(frozen.at(56_000)), "nothing kept it from being heard");
        acquits::<QuorumOnly>(&loses_a(calm().power_off("a", Cause::Outside).at(33_000)));
        acquits::<QuorumOnly>(&loses_a(calm().power_on("a", 9).at(60_000)));
    }

    #[test]
    fn a_host_that_was_cut_off_alone_is_lost() {
        let alone = fault(calm(), "isolate host a").at(33_000);
        acquits::<QuorumOnly>(&loses_a(alone.clone()));
        acquits::<QuorumOnly>(&loses_a(fault(alone.clone(), "rejoin host a").at(34_000)));
        let later = fault(alone, "isolate host b").at(35_000);
        acquits::<QuorumOnly>(&loses_a(later));
    }

    #[test]
    fn a_host_is_not_lost_before_its_time() {
        let opened = Story::opened(Settings::default(), quorumfence_machine::Segment::default());
        let admissions = HOSTS.iter().map(|(name, number)| admitted(name, *number)).collect();
        let calm = opened.entry(3, vec![voters()]).entry(4, alive()).entry(5, admissions).at(30_000);
        let cut = |after: u64| fault(calm.clone(), "isolate host a").at(30_000 + after);
        convicts::<QuorumOnly>(&loses_a(cut(500)), "was cut off for 0.500 s only");
        acquits::<QuorumOnly>(&loses_a(cut(30_000)));
        let changed = calm.clone().entry(6, vec![Event::SettingsChanged { settings: None }]).at(60_000);
        acquits::<QuorumOnly>(&loses_a(fault(changed, "isolate host a").at(60_500)));

        let to = |story: Story, settings: Settings| {
            story.entry(6, vec![Event::SettingsChanged { settings: Some(Box::new(settings)) }]).at(60_000)
        };
        let patient = Settings { suspect_after: Millis(60_000), ..Settings::default() };
        let cut = |story: Story, at: u64| loses_a(fault(story, "isolate host a").at(60_000 + at));
        convicts::<QuorumOnly>(&cut(to(calm.clone(), patient.clone()), 500), "was cut off for 0.500 s only");
        acquits::<QuorumOnly>(&cut(to(calm.clone(), patient), 30_000));
        let fast = to(calm, Settings::fast());
        convicts::<QuorumOnly>(&cut(fast.clone(), 100), "was cut off for 0.100 s only");
        convicts::<QuorumOnly>(&loses_a(fast), "it lives and nothing kept it from being heard");
    }

    #[test]
    fn nobody_is_lost_while_most_hosts_lost_their_network() {
        let cut = fault(fault(calm(), "isolate host a"), "isolate host b").at(33_000);
        convicts::<QuorumOnly>(&loses_a(cut.clone()), "2 of 3 hosts lost the network with it");
        let back = fault(fault(cut.at(50_000), "rejoin host b"), "rejoin host a");
        convicts::<QuorumOnly>(&loses_a(back.clone().at(52_000)), "2 of 3 hosts lost the network with it");
        acquits::<QuorumOnly>(&loses_a(back.clone().at(54_000)));
        convicts::<QuorumOnly>(&loses_a(back.at(71_000)), "is back on the network for long");
    }

    #[test]
    fn without_a_calm_nothing_is_judged() {
        let troubles = [
            "weather loss 5% duplicate 0% delay 0s",
            "controller 1 pause 2s",
            "controller 1 stall votes-before-cast 2s",
            "disk 2 slow 1s",
            "isolate controller 2",
            "cut controller 1 -> host a",
            "host a stall agent-before-call 2s",
            "bmc a stale",
            "hypervisor a hangs",
            "something that nobody can read",
        ];
        for trouble in troubles {
            acquits::<QuorumOnly>(&loses_a(fault(calm(), trouble).at(45_000)));
        }
        let over = fault(fault(calm(), "isolate controller 2").at(40_000), "rejoin controller 2");
        acquits::<QuorumOnly>(&loses_a(over.clone().at(59_000)));
        convicts::<QuorumOnly>(&loses_a(over.at(60_000)), "nothing kept it from being heard");
        let healed = fault(fault(calm(), "bmc a stale").at(40_000), "heal").at(60_000);
        convicts::<QuorumOnly>(&loses_a(healed), "nothing kept it from being heard");
    }

    #[test]
    fn a_real_machine_may_be_too_busy_to_hear() {
        let mut judge = QuorumOnly::on_a_real_machine();
        let heard = loses_a(calm()).observations.iter().try_for_each(|observation| judge.see(observation));
        assert_eq!(heard, Ok(()));
    }
}
