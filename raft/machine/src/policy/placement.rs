//! Room: how much memory each host has left, and which host takes an instance.

use std::collections::BTreeMap;

use crate::{BootId, Destination, Host, HostId, Instance, Parking, RecoveryMethod, SegmentId, State};

/// The healthy hosts of one segment with what is free on them, as planned so far.
pub(super) struct Room {
    method: RecoveryMethod,
    hosts: BTreeMap<HostId, Free>,
}

struct Free {
    boot: BootId,
    memory_mib: u64,
    starting: u32,
}

impl Room {
    /// Returns the room in a segment. A host without heartbeats is no target, but that is for `healthy` to say.
    pub(super) fn of(state: &State, segment: &SegmentId, healthy: impl Fn(&Host) -> bool) -> Self {
        let method = state.segment(segment).map_or(RecoveryMethod::Auto, |segment| segment.method);
        let mut hosts = BTreeMap::new();
        for host in state.hosts().filter(|host| host.segment() == Some(segment) && host.maintenance.is_none()) {
            let (Some(boot), Some(agent)) = (host.up_boot(), &host.agent) else { continue };
            if agent.boot == boot && !agent.cannot_refuse && healthy(host) {
                hosts.insert(host.id.clone(), Free { boot, memory_mib: agent.memory_mib, starting: 0 });
            }
        }
        for instance in state.instances() {
            let Some((holder, _, _)) = instance.holder() else { continue };
            let Some(free) = hosts.get_mut(holder) else { continue };
            if instance.state.dies_with_its_owner() {
                free.memory_mib = free.memory_mib.saturating_sub(instance.memory_mib);
            }
            free.starting += u32::from(instance.assignment().is_some());
        }
        Self { method, hosts }
    }

    /// Takes room for an instance on the host with most memory left, or says why there is none.
    ///
    /// `None` means that a target exists and has as many starts in flight as allowed: ask again when one has ended.
    pub(super) fn take(&mut self, instance: &Instance, not: Option<&HostId>, starts_max: u32) -> Option<Destination> {
        match self.method {
            RecoveryMethod::Auto => {}
        }
        if self.hosts.is_empty() {
            return Some(Destination::Parked(Parking::NoHost));
        }
        let only_choice = self.hosts.len() == 1;
        let fits =
            |id: &HostId, free: &Free| free.memory_mib >= instance.memory_mib && (only_choice || Some(id) != not);
        if !self.hosts.iter().any(|(id, free)| fits(id, free)) {
            return Some(Destination::Parked(Parking::NoRoom));
        }
        let (id, free) = self
            .hosts
            .iter_mut()
            .filter(|(id, free)| fits(id, free) && free.starting < starts_max)
            .max_by(|(a_id, a), (b_id, b)| a.memory_mib.cmp(&b.memory_mib).then(b_id.cmp(a_id)))?;
        free.memory_mib -= instance.memory_mib;
        free.starting += 1;
        Some(Destination::Host { host: id.clone(), boot: free.boot })
    }
}
