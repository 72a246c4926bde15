//! S1: an instance never runs on two hosts at once.

use std::collections::BTreeMap;

use quorumfence_machine::{HostId, InstanceId};

use super::Promise;
use crate::observation::{Observation, Seen};

/// Judges S1 by the hardware's own word. A second start on the same host is the hypervisor's matter.
#[derive(Debug, Default)]
pub struct OneHome {
    homes: BTreeMap<InstanceId, HostId>,
    judged: u64,
}

impl Promise for OneHome {
    fn id(&self) -> &'static str {
        "S1"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        if let Seen::Started { instance, host, .. } = &observation.seen {
            self.judged += 1;
            if let Some(home) = self.homes.get(instance).filter(|home| *home != host) {
                return Err(format!("{instance} begins to run on {host} while it runs on {home}"));
            }
            self.homes.insert(*instance, host.clone());
        } else if let Seen::Ended { instance, host } = &observation.seen {
            if self.homes.get(instance) == Some(host) {
                self.homes.remove(instance);
            }
        } else if let Seen::PowerOff { host, .. } = &observation.seen {
            self.homes.retain(|_, home| home != host);
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::sample::{Story, acquits, convicts};
    use crate::observation::Cause;

    #[test]
    fn two_homes_at_once_are_a_breach() {
        let story = Story::new().started(1, "a", None);
        convicts::<OneHome>(&story.clone().started(1, "b", Some(9)), "on b while it runs on a");
        convicts::<OneHome>(&story.clone().ended(1, "b").started(1, "b", None), "on b while it runs on a");
        convicts::<OneHome>(&story.power_off("c", Cause::Bmc).started(1, "b", Some(9)), "on b while it runs on a");
    }

    #[test]
    fn a_home_that_ended_or_lost_its_power_is_none() {
        let story = Story::new().started(1, "a", None);
        acquits::<OneHome>(&story.clone().ended(1, "a").started(1, "b", None));
        acquits::<OneHome>(&story.clone().power_off("a", Cause::Outside).started(1, "b", Some(9)));
        acquits::<OneHome>(&story.clone().started(1, "a", Some(9)));
        acquits::<OneHome>(&story.started(2, "b", None));
    }
}
