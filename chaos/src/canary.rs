//! Canaries: runs in which the world is guilty, so that a court which convicts nobody is found out.
//!
//! A sweep that says "0 broken" says little by itself: the witness may be deaf, the judges asleep, the faults off. So a
//! few runs of every batch break the rules that the product may rely on, without a change to the product. The court must
//! convict each, by a promise that its guilt breaks; otherwise the batch proves nothing, and fails.

use std::fmt;
use std::str::FromStr;

use quorumfence_machine::{ControllerId, Millis};

use crate::fault::{Blow, Fault, Which};
use crate::script::{Action, Script};
use crate::swarm::{Profile, Shape};
use crate::world::sim::Run;

/// What the world does that no correct product survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guilt {
    /// Every disk says that it has synced, and has not; then all controllers lose their power.
    DisksLie,
    /// A BMC says off of a host that is on.
    BmcLies,
}

/// How long a canary goes on.
const CHAOS: Millis = Millis(25_000);

/// When all controllers lose their power under [`Guilt::DisksLie`], and when it is back.
const POWER_CUT: Millis = Millis(12_000);
const POWER_BACK: Millis = Millis(13_000);

impl Guilt {
    /// Every kind of guilt; one canary each is in every batch.
    pub const ALL: [Self; 2] = [Self::DisksLie, Self::BmcLies];

    /// Returns the run of this canary. Without the guilt every promise holds in it.
    pub fn run(self, seed: u64) -> Run {
        let shape = Shape {
            controllers: 3,
            hosts: 3,
            instances_per_host: 1,
            profile: Profile::Fast,
            drift: Vec::new(),
            snapshot_after: 400,
            one_stays_off: false,
            leader_is_blind: false,
            outage: None,
        };
        let cut = |at, blow| Action { at, fault: Fault::Controller(Which::All, blow) };
        let actions = match self {
            Self::DisksLie => vec![cut(POWER_CUT, Blow::PowerCut), cut(POWER_BACK, Blow::Start)],
            Self::BmcLies => {
                let pause = Blow::Pause(Millis(10));
                vec![Action { at: Millis(1000), fault: Fault::Controller(Which::One(ControllerId(1)), pause) }]
            }
        };
        Run { seed, shape, chaos: CHAOS, script: Some(Script { actions }) }
    }

    /// Returns the promises of which one must convict it.
    pub fn breaks(self) -> &'static [&'static str] {
        match self {
            Self::DisksLie => &["S6", "S8", "panic"],
            Self::BmcLies => &["S1", "S2"],
        }
    }

    /// Returns what is wrong with a court that came to this verdict on the canary; `None` when it is awake.
    pub fn complaint(self, promise: Option<&str>) -> Option<String> {
        let breaks = self.breaks().join(", ");
        match promise {
            Some(promise) if self.breaks().contains(&promise) => None,
            Some(promise) => Some(format!("the canary {self} was convicted by {promise}; it breaks {breaks}")),
            None => Some(format!("the canary {self} was not convicted; it breaks {breaks}")),
        }
    }
}

impl fmt::Display for Guilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DisksLie => "disks-lie",
            Self::BmcLies => "bmc-lies",
        })
    }
}

impl FromStr for Guilt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|guilt| guilt.to_string() == text);
        found.ok_or_else(|| format!("{text:?} is no canary; there are disks-lie and bmc-lies"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::sim::{play, play_guilty};

    #[test]
    fn every_canary_is_convicted_by_what_it_breaks() {
        for guilt in Guilt::ALL {
            for seed in 1..=3 {
                let broken = play_guilty(&guilt.run(seed), guilt).unwrap().broken;
                assert_eq!(guilt.complaint(broken.as_ref().map(|broken| broken.promise)), None, "{broken:?}");
            }
        }
    }

    #[test]
    fn a_world_without_guilt_is_a_complaint() {
        for guilt in Guilt::ALL {
            let broken = play(&guilt.run(1)).unwrap().broken;
            assert_eq!(broken, None);
            let complaint = guilt.complaint(None).unwrap();
            assert!(complaint.starts_with(&format!("the canary {guilt} was not convicted")), "{complaint}");
        }
        let other = Guilt::BmcLies.complaint(Some("L3")).unwrap();
        assert_eq!(other, "the canary bmc-lies was convicted by L3; it breaks S1, S2");
    }

    #[test]
    fn a_canary_has_a_name_that_is_read_back() {
        for guilt in Guilt::ALL {
            assert_eq!(guilt.to_string().parse(), Ok(guilt));
        }
        assert!("parrot".parse::<Guilt>().is_err());
    }
}
