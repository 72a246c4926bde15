//! Ambushes: the nemesis prepares the ground, waits for one moment of the protocol, and strikes.
//!
//! A fault that is timed by chance meets a window of some milliseconds once in thousands of runs. One that waits for the
//! window meets it every time, and finds what a protocol does in it.

use quorumfence_machine::{HostId, Millis};
use quorumfence_raft::Point;

use super::Sight;
use crate::chance::Chance;
use crate::fault::{Blow, BmcTrouble, Fault, HostBlow, HypervisorTrouble, Place, Which};

/// How long an executor stands before its last look at the permit: long enough to be paused there.
const LAST_LOOK: Millis = Millis(2000);

/// One ambush.
#[derive(Debug)]
pub(super) struct Ambush {
    moment: Moment,
    /// When it is laid; none once it is.
    from: Option<Millis>,
    is_sprung: bool,
}

/// What an ambush waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// An executor holds a permit and has not been heard of since. Its machine stands still past the permit's end.
    Permit,
    /// The same; the executor dies, and its permit with it.
    PermitOfADeadLeader,
    /// An instance is ordered to a host. That host reboots before it has answered.
    Start,
    /// The same; the line to that host is cut.
    StartIsLost,
}

type Sprung = Vec<(Millis, Fault)>;

impl Ambush {
    /// Lays an ambush at some time of the run.
    pub(super) fn lay(chance: &mut Chance, chaos: Millis) -> Self {
        let moments = [Moment::Permit, Moment::PermitOfADeadLeader, Moment::Start, Moment::StartIsLost];
        let moment = chance.pick(&moments).copied().unwrap_or(Moment::Permit);
        let from = Some(chance.time(Millis(3000), chaos - Millis(40_000)));
        Self { moment, from, is_sprung: false }
    }

    /// Returns what happens now, and how much later.
    pub(super) fn due(&mut self, chance: &mut Chance, now: Millis, sight: &Sight) -> Sprung {
        if self.from.is_some_and(|from| now >= from) {
            self.from = None;
            return self.prepare(chance, sight);
        }
        let is_laid = self.from.is_none();
        if !is_laid || self.is_sprung {
            return Sprung::new();
        }
        let sprung = self.spring(chance, sight);
        self.is_sprung = !sprung.is_empty();
        sprung
    }

    /// A host dies, and what follows is slow enough to be met.
    fn prepare(&self, chance: &mut Chance, sight: &Sight) -> Sprung {
        let Some(host) = chance.pick(&sight.hosts).cloned() else { return Sprung::new() };
        match self.moment {
            Moment::Permit => vec![
                (Millis::ZERO, Fault::Isolate(Place::Host(host.clone()))),
                // The order is prepared and not sent: the last look at the permit is what is met.
                (Millis::ZERO, Fault::Controller(Which::Leader, Blow::Stall(Point::FenceBeforePermitCheck, LAST_LOOK))),
                (chance.time(Millis(30_000), Millis(60_000)), Fault::Rejoin(Place::Host(host))),
            ],
            Moment::PermitOfADeadLeader => {
                // It obeys nobody meanwhile: a host that goes off and comes back would prove the fence by its new boot.
                vec![
                    (Millis::ZERO, Fault::Isolate(Place::Host(host.clone()))),
                    (Millis::ZERO, Fault::Bmc(host.clone(), BmcTrouble::Silent)),
                    (Millis(25_000), Fault::Bmc(host.clone(), BmcTrouble::Works)),
                    (chance.time(Millis(30_000), Millis(60_000)), Fault::Rejoin(Place::Host(host))),
                ]
            }
            Moment::Start | Moment::StartIsLost => slow_starts(chance, sight, host),
        }
    }

    fn spring(&self, chance: &mut Chance, sight: &Sight) -> Sprung {
        let Some(leader) = sight.leader else { return Sprung::new() };
        let leader = Which::One(leader);
        // One that is off already has nothing more to lose.
        let is_permitted = sight.permitted.iter().any(|host| !sight.off.contains(host));
        match self.moment {
            Moment::Permit if is_permitted => {
                let still = chance.time(Millis(20_500), Millis(45_000));
                vec![(chance.time(Millis::ZERO, LAST_LOOK), Fault::Controller(leader, Blow::Pause(still)))]
            }
            Moment::PermitOfADeadLeader if is_permitted => {
                let blow = *chance.pick(&[Blow::Kill, Blow::PowerCut]).unwrap_or(&Blow::Kill);
                let start = chance.time(Millis(500), Millis(30_000));
                vec![(Millis::ZERO, Fault::Controller(leader, blow)), (start, Fault::Controller(leader, Blow::Start))]
            }
            Moment::Start => match sight.targets.first().cloned() {
                Some(target) => vec![(chance.time(Millis::ZERO, Millis(1500)), Fault::Host(target, HostBlow::Reboot))],
                None => Sprung::new(),
            },
            Moment::StartIsLost => match sight.targets.first().cloned() {
                Some(target) => {
                    let place = Place::Host(target);
                    let end = chance.time(Millis(500), Millis(4000));
                    vec![(Millis::ZERO, Fault::Isolate(place.clone())), (end, Fault::Rejoin(place))]
                }
                None => Sprung::new(),
            },
            Moment::Permit | Moment::PermitOfADeadLeader => Sprung::new(),
        }
    }
}

fn slow_starts(chance: &mut Chance, sight: &Sight, host: HostId) -> Sprung {
    let slow = HypervisorTrouble::Late(chance.time(Millis(2000), Millis(8000)));
    let others = sight.hosts.iter().filter(|other| **other != host);
    let mut prepared: Sprung = vec![(Millis::ZERO, Fault::Host(host.clone(), HostBlow::PowerCut))];
    for other in others {
        prepared.push((Millis::ZERO, Fault::Hypervisor(other.clone(), slow)));
        prepared.push((Millis(25_000), Fault::Hypervisor(other.clone(), HypervisorTrouble::Works)));
    }
    prepared
}
