//! After the faults: everything is mended, operators do their part, and all must be well again.

use std::collections::BTreeMap;
use std::time::Duration;

use quorumfence_machine::{HostId, Millis, WallMillis};

use super::{World, pause, wall};
use crate::fault::{Deed, Fault, HostBlow};
use crate::observation::Seen;

/// Longest wait until all is well. Guests boot slowly, and this machine may be busy with other things.
pub(super) const PATIENCE: Millis = Millis(900_000);

/// Then nothing may happen for this long: more than the quiet that L3 asks for.
const QUIET: Millis = Millis(12_000);

/// A host without power is switched on after this long.
const POWER_ON_AFTER: Millis = Millis(5000);

/// What was mended is mended again after this long: a host that returned may have been cut off meanwhile.
const MEND_AGAIN: Millis = Millis(20_000);

/// Operators look this often.
const ROUND: Millis = Millis(3000);

/// A guest whose last line is younger runs. It writes five a second when it gets the processor.
const FRESH: Duration = Duration::from_secs(10);

const TICK: Duration = Duration::from_millis(500);

impl World {
    /// Heals everything, waits until all is well and quiet, and returns when it was.
    ///
    /// # Errors
    /// Says what is not well when patience ends. That is no broken promise: nobody knows how slow this machine is.
    pub(super) fn converge(&mut self) -> Result<WallMillis, String> {
        self.inflict(&Fault::Heal);
        self.tell(Seen::Healed);
        let healed = wall();
        let (mut mended, mut looked) = (healed, healed);
        let mut dark: BTreeMap<HostId, WallMillis> = BTreeMap::new();
        let mut quiet: Option<(WallMillis, u64)> = None;
        loop {
            let now = wall();
            self.look().map_err(|error| format!("{error:#}"))?;
            self.light(&mut dark, now)?;
            if now.0 - looked.0 > ROUND.0 {
                looked = now;
                self.open_brakes();
            }
            let ill = self.ill()?;
            let last = self.ledger.last;
            quiet = match (&ill, quiet) {
                (None, Some((since, events))) if events == last => Some((since, events)),
                (None, _) => Some((now, last)),
                (Some(_), _) => None,
            };
            if quiet.is_some_and(|(since, _)| now.0 - since.0 > QUIET.0) {
                return Ok(now);
            }
            if now.0 - healed.0 > PATIENCE.0 {
                let why = ill.unwrap_or_else(|| "the controllers do not come to rest".into());
                return Err(format!("{} s after the last fault {why}", PATIENCE.0 / 1000));
            }
            if ill.is_some() && now.0 - mended.0 > MEND_AGAIN.0 {
                mended = now;
                self.inflict(&Fault::Heal);
            }
            pause(TICK);
        }
    }

    /// Switches on what has been off for a while, as somebody at the rack would.
    fn light(&mut self, dark: &mut BTreeMap<HostId, WallMillis>, now: WallMillis) -> Result<(), String> {
        let off = self.dark().map_err(|error| format!("{error:#}"))?;
        dark.retain(|host, _| off.contains(host));
        for host in off {
            let since = *dark.entry(host.clone()).or_insert(now);
            if now.0 - since.0 > POWER_ON_AFTER.0 {
                self.inflict(&Fault::Host(host, HostBlow::PowerOn));
            }
        }
        Ok(())
    }

    /// Operators see what holds fences back, and open it.
    fn open_brakes(&mut self) {
        for host in self.ledger.in_maintenance.clone() {
            self.inflict(&Fault::Operator(Deed::EndMaintenance(host)));
        }
        if !self.ledger.is_armed || self.ledger.is_storm_closed {
            self.inflict(&Fault::Operator(Deed::Arm));
        }
    }

    /// Returns what is not well.
    fn ill(&mut self) -> Result<Option<String>, String> {
        if self.cluster.running() != self.cluster.controllers() {
            return Ok(Some("a controller does not run".into()));
        }
        if self.leader.is_none() {
            return Ok(Some("nobody leads".into()));
        }
        let off = self.dark().map_err(|error| format!("{error:#}"))?;
        let hosts = self.cluster.rig().hosts().iter().map(quorumfence_node::demo::hosts::Host::id);
        if let Some(host) = hosts.into_iter().find(|host| off.contains(host) || !self.ledger.stands(host)) {
            return Ok(Some(format!("{host} is not back")));
        }
        if let Some(instance) = self.ledger.open.keys().next() {
            return Ok(Some(format!("{instance} waits to be started")));
        }
        let rig = self.cluster.rig();
        let writes = |instance| {
            let last = rig.guests().lines(instance).last().map(|line| line.at.elapsed());
            last.is_some_and(|age| age < FRESH)
        };
        let silent = self.cluster.guests().iter().find(|guest| !writes(guest.instance));
        Ok(silent.map(|guest| format!("{} writes nothing", guest.name)))
    }
}
