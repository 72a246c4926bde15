//! Every kind of fault that this world can do, so that a run can say what it never did.

use std::collections::BTreeMap;

use crate::fault::Fault;

/// One fault of each kind of the vocabulary; a stall point is a kind of its own, and stands in the list of points.
const EACH: &str = "
bmc host1 busy
bmc host1 ignores
bmc host1 late 1s
bmc host1 loses-answer
bmc host1 powers-back-on 1s
bmc host1 refuses-login
bmc host1 silent
bmc host1 stale
bmc host1 works
clock 1 +900ms
controller 1 hand-over
controller 1 kill
controller 1 pause 1s
controller 1 power-cut
controller 1 start
controller 1 wipe
controller all kill
controller all power-cut
controller all start
controller leader hand-over
cut bmc host1 -> controller 1
cut controller 1 -> bmc host1
cut controller 1 -> controller 2
cut controller 1 -> host host1
cut host host1 -> controller 1
disk 1 fail-sync
disk 1 full
disk 1 slow 1s
disk 1 works
heal
host host1 freeze 1s
host host1 power-cut
host host1 power-on
host host1 reboot
host host1 restart-agent
hypervisor host1 fails
hypervisor host1 hangs
hypervisor host1 late 1s
hypervisor host1 loses-answer
hypervisor host1 works
instance vm1 end
instance vm1 move host2
isolate bmc host1
isolate controller 1
isolate host host1
join bmc host1 -> controller 1
join controller 1 -> bmc host1
join controller 1 -> controller 2
join controller 1 -> host host1
join host host1 -> controller 1
member add
member demote 1
member promote 1
member remove 1
operator arm
operator confirm-dead host1
operator disarm
operator end-maintenance host1
operator enrol host1 bmc
operator set fences_in_flight_max = 1
operator set max_restart_attempts = 1
operator set starts_per_host_max = 1
operator set storm_fences_max = 1
operator start-maintenance host1
rejoin bmc host1
rejoin controller 1
rejoin host host1
weather loss 1% duplicate 1% delay 1s
";

/// Returns the kinds of faults that a nemesis can do to processes and that did not happen, sorted. Of stalls there is
/// one kind a point, which a run counts where they are hit.
pub fn never(happened: &BTreeMap<String, u64>) -> Vec<String> {
    kinds().filter(|kind| !happened.contains_key(kind)).collect()
}

fn kinds() -> impl Iterator<Item = String> {
    let read = |line: &str| line.parse::<Fault>().expect("the vocabulary is made of faults");
    EACH.lines().filter(|line| !line.is_empty()).map(move |line| read(line).kind())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use quorumfence_machine::{ControllerId, Millis};

    use super::*;
    use crate::nemesis::{Nemesis, Sight};
    use crate::swarm::{Kind, Plan};
    use crate::world::processes::supports;
    use crate::world::sim::host;

    #[test]
    fn the_vocabulary_is_all_that_a_nemesis_does_here() {
        let controllers: Vec<ControllerId> = (1..=3).map(ControllerId).collect();
        let leader = Some(ControllerId(1));
        let hosts: Vec<_> = (1..=4).map(host).collect();
        let (off, permitted) = ([hosts[3].clone()].into(), vec![hosts[0].clone()]);
        let (fenced, targets) = (vec![hosts[0].clone()], vec![hosts[1].clone()]);
        let (up, homes) = (hosts[..3].to_vec(), vec![("vm1".to_string(), hosts[0].clone())]);
        let sight = Sight {
            leader,
            controllers: controllers.clone(),
            running: controllers,
            hosts,
            off,
            fenced,
            permitted,
            targets,
            up,
            homes,
        };
        let mut done: BTreeSet<String> = ["heal".into(), "controller hand-over".into()].into();
        for seed in 0..200 {
            let mut nemesis = Nemesis::new(seed, Plan { kinds: Kind::ALL.to_vec(), ..Plan::of(seed) });
            for now in (0..120_000).step_by(200) {
                let faults = nemesis.due(Millis(now), &sight).into_iter().filter(|fault| supports(fault).is_ok());
                done.extend(faults.map(|fault| fault.kind()).filter(|kind| !kind.contains(" stall ")));
            }
        }
        assert_eq!(kinds().collect::<BTreeSet<_>>(), done);
    }
}
