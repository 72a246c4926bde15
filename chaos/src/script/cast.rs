//! Whom a script speaks of: a fault of a host that is not there would do nothing, and look like one that was survived.

use std::collections::BTreeSet;

use quorumfence_machine::{ControllerId, HostId};

use super::Script;
use crate::fault::{Fault, Hands, Member, Place, Which};

/// The hosts, instances and controllers of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    /// Its hosts.
    pub hosts: BTreeSet<HostId>,
    /// Its instances.
    pub instances: BTreeSet<String>,
    /// Its controllers at first: 1 to this.
    pub controllers: u8,
}

impl Cast {
    /// Returns the first that a script speaks of and that is not in the cluster when it does. A person may be mistaken: what
    /// people say is not looked at.
    pub fn stranger(&self, script: &Script) -> Option<String> {
        let mut last = u64::from(self.controllers);
        script.actions.iter().find_map(|action| {
            last += u64::from(action.fault == Fault::Member(Member::Add));
            let stranger = self.stranger_of(&action.fault, last)?;
            Some(format!("'{} {}': there is no {stranger}", crate::fault::Time(action.at), action.fault))
        })
    }

    fn stranger_of(&self, fault: &Fault, last: u64) -> Option<String> {
        let host = |host: &HostId| (!self.hosts.contains(host)).then(|| host.to_string());
        let controller = |id: &ControllerId| (id.0 == 0 || id.0 > last).then(|| id.to_string());
        let place = |place: &Place| match place {
            Place::Controller(id) => controller(id),
            Place::Host(name) | Place::Bmc(name) => host(name),
        };
        match fault {
            Fault::Controller(Which::One(id), _) | Fault::Disk(id, _) | Fault::WallClock(id, _) => controller(id),
            Fault::Member(Member::Demote(id) | Member::Promote(id) | Member::Remove(id)) => controller(id),
            Fault::Cut { from, to } | Fault::Join { from, to } => place(from).or_else(|| place(to)),
            Fault::Isolate(one) | Fault::Rejoin(one) => place(one),
            Fault::Host(name, _) | Fault::Bmc(name, _) | Fault::Hypervisor(name, _) | Fault::Explain(name) => {
                host(name)
            }
            Fault::Instance(name, hands) => {
                let stranger = (!self.instances.contains(name)).then(|| format!("instance {name}"));
                stranger.or_else(|| match hands {
                    Hands::Start(to) | Hands::Migrate(to) | Hands::Move(to) => host(to),
                    Hands::End => None,
                })
            }
            Fault::Controller(Which::Leader | Which::All, _)
            | Fault::Member(Member::Add)
            | Fault::Weather(_)
            | Fault::Operator(_)
            | Fault::Heal => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_not_there_is_found_where_a_script_speaks_of_it() {
        let name = |host: &str| host.parse::<HostId>().unwrap();
        let cast =
            Cast { hosts: [name("host1"), name("host2")].into(), instances: ["vm1".to_owned()].into(), controllers: 3 };
        let stranger = |script: &str| cast.stranger(&script.parse().unwrap());
        for fine in [
            "1s host host2 power-cut",
            "1s controller leader kill\n2s member add\n3s controller 4 kill",
            "1s operator confirm-dead host9",
        ] {
            assert_eq!(stranger(fine), None, "{fine}");
        }
        let table = [
            ("1s host host3 power-cut", "host3"),
            ("1s bmc host3 silent", "host3"),
            ("1s explain host3", "host3"),
            ("1s isolate host host3", "host3"),
            ("1s cut controller 1 -> bmc host3", "host3"),
            ("1s controller 4 kill\n2s member add", "controller-4"),
            ("1s disk 4 full", "controller-4"),
            ("1s member remove 9", "controller-9"),
            ("1s instance vm2 end", "instance vm2"),
            ("1s instance vm1 move host3", "host3"),
        ];
        for (script, who) in table {
            let first = script.lines().next().unwrap();
            assert_eq!(stranger(script), Some(format!("'{first}': there is no {who}")));
        }
    }
}
