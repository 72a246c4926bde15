//! The swarm: what one seed makes of a run. Each run gets another cluster and another mix of faults, because a mix of
//! everything at once hides what a few kinds do together.

use std::fmt;

use quorumfence_machine::{Millis, Segment, Settings};
use serde::{Deserialize, Serialize};

use crate::chance::Chance;

/// How long faults go on.
const CHAOS: Millis = Millis(120_000);

/// What the cluster of a run is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Controllers that vote.
    pub controllers: u8,
    /// Hosts.
    pub hosts: u8,
    /// Instances on each host at first.
    pub instances_per_host: u8,
    /// The settings profile.
    pub profile: Profile,
    /// Clock rate of each controller, in parts per million off the world's; others after these have none.
    pub drift: Vec<i32>,
    /// Entries between two snapshots.
    pub snapshot_after: u64,
    /// Whether one host loses its power for good, once everything else is healed and well.
    #[serde(default)]
    pub one_stays_off: bool,
    /// Whether whoever leads then does not reach that host's BMC any more, and others do.
    #[serde(default)]
    pub leader_is_blind: bool,
    /// What happens to the agents' network once everything else is healed and has been calm for long.
    #[serde(default)]
    pub outage: Option<Outage>,
}

/// Who loses the network, and for how long. Everybody lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outage {
    /// One host.
    OneHost(Millis),
    /// All hosts at once.
    EveryHost(Millis),
}

/// Which settings a cluster is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// [`Settings::fast`], with checks four times a second.
    Fast,
    /// [`Settings::default`], with a check a second.
    Default,
}

/// What happens once everything is healed and well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastBlow {
    /// Nothing more.
    None,
    /// One host loses its power for good.
    Host,
    /// The same, and the leader loses its line to that host's BMC for good.
    HostAndLeadersLine,
}

/// Kinds of faults that a run has or has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Controllers that die, and start again.
    Crashes,
    /// Controllers that stand still.
    Pauses,
    /// Lines that are cut.
    Cuts,
    /// Loss, duplicates and delay.
    Weather,
    /// Slow, full and failing disks.
    Disks,
    /// Wall clocks that jump.
    Clocks,
    /// Hosts that lose power, reboot or freeze.
    Hosts,
    /// BMCs that misbehave.
    Bmcs,
    /// Hypervisors that misbehave.
    Hypervisors,
    /// Tasks that stand still at a named point of the product.
    Stalls,
    /// Controllers that join, leave and change their voice.
    Members,
    /// Disks that lose everything, or one bit.
    Damage,
    /// People: arm, disarm, maintenance, confirmation; snapshots and a leader that hands over.
    People,
    /// Instances that somebody moves or ends.
    Hands,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 14] = [
        Self::Crashes,
        Self::Pauses,
        Self::Cuts,
        Self::Weather,
        Self::Disks,
        Self::Clocks,
        Self::Hosts,
        Self::Bmcs,
        Self::Hypervisors,
        Self::Stalls,
        Self::Members,
        Self::Damage,
        Self::People,
        Self::Hands,
    ];
}

/// What one seed makes of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The cluster.
    pub shape: Shape,
    /// Kinds of faults that this run has.
    pub kinds: Vec<Kind>,
    /// Between two faults, on average.
    pub pause: Millis,
    /// How long faults go on.
    pub chaos: Millis,
}

impl Plan {
    /// Returns the plan of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed, "swarm");
        let controllers = if chance.percent(20) { 5 } else { 3 };
        let mut shape = Shape {
            controllers,
            hosts: u8::try_from(chance.between(3, 8)).unwrap_or(8),
            instances_per_host: u8::try_from(chance.between(1, 2)).unwrap_or(2),
            profile: if chance.percent(60) { Profile::Fast } else { Profile::Default },
            drift: (0..controllers).map(|_| drift(&mut chance)).collect(),
            snapshot_after: *chance.pick(&[40, 100, 400]).unwrap_or(&100),
            one_stays_off: chance.percent(40),
            leader_is_blind: false,
            outage: None,
        };
        let mut kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|_| chance.percent(55)).collect();
        // Without a host that fails there is nothing to fence, and nothing to break.
        if !kinds.contains(&Kind::Hosts) && !kinds.contains(&Kind::Cuts) {
            kinds.push(Kind::Hosts);
        }
        let pause = chance.time(Millis(1000), Millis(3500));
        shape.leader_is_blind = chance.percent(50);
        shape.outage = chance.percent(40).then(|| outage(&mut chance));
        Self { shape, kinds, pause, chaos: CHAOS }
    }
}

/// About as long as the silence that condemns, or longer than an agent needs to call again.
fn outage(chance: &mut Chance) -> Outage {
    if chance.percent(50) {
        Outage::OneHost(chance.time(Millis(200), Millis(5000)))
    } else {
        Outage::EveryHost(chance.time(Millis(500), Millis(12_000)))
    }
}

/// Most clocks are right; some are off by up to 2 %.
fn drift(chance: &mut Chance) -> i32 {
    if chance.percent(70) { 0 } else { i32::try_from(chance.between(0, 40_000)).unwrap_or(0) - 20_000 }
}

impl Shape {
    /// Returns what happens once everything is healed and well.
    pub fn last(&self) -> LastBlow {
        match (self.one_stays_off, self.leader_is_blind) {
            (false, _) => LastBlow::None,
            (true, false) => LastBlow::Host,
            (true, true) => LastBlow::HostAndLeadersLine,
        }
    }

    /// Returns the settings and the segment.
    pub fn policy(&self) -> (Settings, Segment) {
        match self.profile {
            Profile::Fast => (Settings::fast(), Segment { check_interval: Millis(250), ..Segment::default() }),
            Profile::Default => (Settings::default(), Segment { check_interval: Millis(1000), ..Segment::default() }),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { controllers, hosts, instances_per_host, profile, .. } = &self.shape;
        let kinds: Vec<String> = self.kinds.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
        let instances = u32::from(*hosts) * u32::from(*instances_per_host);
        write!(
            f,
            "{controllers} controllers, {hosts} hosts, {instances} instances, {profile:?} settings; a fault each {} on average: {}",
            self.pause,
            kinds.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_plan_each_time() {
        assert_eq!(Plan::of(7), Plan::of(7));
    }

    #[test]
    fn every_kind_shape_and_profile_comes_up() {
        let plans: Vec<Plan> = (0..200).map(Plan::of).collect();
        for kind in Kind::ALL {
            assert!(plans.iter().any(|plan| plan.kinds.contains(&kind)), "{kind:?}");
        }
        for controllers in [3, 5] {
            assert!(plans.iter().any(|plan| plan.shape.controllers == controllers));
        }
        for profile in [Profile::Fast, Profile::Default] {
            assert!(plans.iter().any(|plan| plan.shape.profile == profile));
        }
        assert!(plans.iter().any(|plan| plan.shape.one_stays_off && plan.shape.leader_is_blind));
        assert!(plans.iter().any(|plan| matches!(plan.shape.outage, Some(Outage::OneHost(_)))));
        assert!(plans.iter().any(|plan| matches!(plan.shape.outage, Some(Outage::EveryHost(_)))));
        assert!(plans.iter().any(|plan| plan.shape.drift.iter().any(|drift| *drift != 0)));
    }
}
