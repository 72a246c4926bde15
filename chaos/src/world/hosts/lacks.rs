//! What this world cannot do, and why.

use crate::fault::{Blow, BmcTrouble, Deed, Fault, HostBlow, HypervisorTrouble, Place};
use crate::swarm::Kind;

/// Kinds of faults that a plan for this world leaves out as a whole.
pub const KINDS_LEFT_OUT: [Kind; 6] =
    [Kind::Weather, Kind::Disks, Kind::Clocks, Kind::Stalls, Kind::Members, Kind::Damage];

/// Returns why this world cannot do a fault; `None` when it can.
#[must_use]
pub fn lacks(fault: &Fault) -> Option<&'static str> {
    match fault {
        Fault::Controller(_, Blow::Kill | Blow::Start | Blow::Pause(_))
        | Fault::Isolate(Place::Host(_) | Place::Bmc(_))
        | Fault::Rejoin(Place::Host(_) | Place::Bmc(_))
        | Fault::Host(
            _,
            HostBlow::PowerCut | HostBlow::PowerOn | HostBlow::Reboot | HostBlow::Freeze(_) | HostBlow::RestartAgent,
        )
        | Fault::Bmc(_, BmcTrouble::Works | BmcTrouble::Silent)
        | Fault::Hypervisor(_, HypervisorTrouble::Works | HypervisorTrouble::Hangs)
        | Fault::Operator(
            Deed::Arm | Deed::Disarm | Deed::StartMaintenance(_) | Deed::EndMaintenance(_) | Deed::ConfirmDead(_),
        )
        | Fault::Heal => None,
        Fault::Operator(Deed::InsistDead(_) | Deed::Enrol(..) | Deed::Set(_)) => {
            Some("the people of this world do not")
        }
        Fault::Controller(_, Blow::Stall(..)) | Fault::Host(_, HostBlow::Stall(..)) => {
            Some("the controllers of this world are no laboratory's")
        }
        Fault::Controller(_, Blow::Wipe) => Some("nobody would replace the controller"),
        Fault::Member(_) => Some("nobody here changes the members; the world of processes does"),
        Fault::Instance(..) | Fault::Explain(_) => Some("it belongs into stories"),
        Fault::Controller(_, Blow::PowerCut) => {
            Some("a controller is a process of this machine, whose kernel keeps what it wrote; kill it instead")
        }
        Fault::Controller(_, Blow::Snapshot | Blow::HandOver) => Some("nobody outside of the process can ask for it"),
        Fault::Disk(_, _) => Some("the controllers share the disk of this machine"),
        Fault::WallClock(_, _) => Some("everything runs on one machine with one clock"),
        Fault::Cut { .. } | Fault::Join { .. } => Some("cables are pulled as a whole"),
        Fault::Isolate(Place::Controller(_)) | Fault::Rejoin(Place::Controller(_)) => {
            Some("the controllers have no cable of their own")
        }
        Fault::Weather(_) => Some("the cables lose and delay nothing"),
        Fault::Bmc(
            _,
            BmcTrouble::Ignores
            | BmcTrouble::RefusesLogin
            | BmcTrouble::Late(_)
            | BmcTrouble::Stale
            | BmcTrouble::Busy
            | BmcTrouble::PowersBackOn(_)
            | BmcTrouble::LosesAnswer,
        ) => Some("a BMC here answers, is silent or is gone"),
        Fault::Hypervisor(
            _,
            HypervisorTrouble::Fails | HypervisorTrouble::LosesAnswer | HypervisorTrouble::Late(_),
        ) => Some("libvirt here works or hangs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Script;

    #[test]
    fn a_fault_that_cannot_be_done_says_why() {
        let why = |text: &str| lacks(&text.parse::<Fault>().unwrap_or_else(|error| panic!("{text}: {error}")));
        assert_eq!(why("cut host host1 -> controller 1"), Some("cables are pulled as a whole"));
        assert_eq!(why("bmc host1 stale"), Some("a BMC here answers, is silent or is gone"));
        assert_eq!(why("controller 1 snapshot"), Some("nobody outside of the process can ask for it"));
    }

    #[test]
    fn power_cables_agents_people_and_processes_can_be_hurt() {
        let text = "1s controller leader kill\n1s controller all start\n1s controller 2 pause 3s\n\
                    2s isolate host host2\n2s isolate bmc host2\n2s rejoin bmc host2\n2s bmc host2 silent\n\
                    3s host host1 reboot\n3s host host1 freeze 2s\n3s host host1 restart-agent\n\
                    4s hypervisor host1 hangs\n4s operator confirm-dead host1\n5s heal\n";
        let script: Script = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert!(script.actions.iter().all(|action| lacks(&action.fault).is_none()));
    }
}
