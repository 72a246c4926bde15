//! What was listed before, to say of what is listed no more that a live migration took it away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use quorumfence_machine::{InstanceId, InstanceState};

use crate::order::Domain;

/// So many lists are waited for libvirt to tell why a domain is gone: its list may be ahead of its events.
const LISTS_MAX: u32 = 8;

/// The last inventory, and what vanished from it lately.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<BTreeMap<InstanceId, Last>>);

/// A domain as it was listed last.
#[derive(Debug, Clone)]
struct Last {
    domain: Domain,
    /// Lists since.
    lists: u32,
}

impl Memory {
    /// Returns the inventory with what migrated: a transient domain vanishes when it does, and libvirt forgets why a persistent
    /// one is shut off when it is started again.
    pub(super) fn with_migrated(&self, listed: Vec<Domain>, migrated: &BTreeSet<InstanceId>) -> Vec<Domain> {
        let mut rows: BTreeMap<_, _> = listed.into_iter().map(|domain| (domain.instance, domain)).collect();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in migrated {
            match rows.get_mut(id) {
                // A copy that was to come back and did not is left behind as failed.
                Some(row) if !row.state.is_here() => row.state = InstanceState::Migrated,
                Some(_) => {}
                None => {
                    let left = last.get(id).map(|row| Domain { state: InstanceState::Migrated, ..row.domain.clone() });
                    rows.extend(left.map(|row| (*id, row)));
                }
            }
        }
        last.values_mut().for_each(|row| row.lists += 1);
        last.retain(|_, row| row.lists < LISTS_MAX);
        last.extend(rows.iter().map(|(id, domain)| (*id, Last { domain: domain.clone(), lists: 0 })));
        rows.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: InstanceId = InstanceId([1; 16]);
    const OTHER: InstanceId = InstanceId([2; 16]);

    fn domain(instance: InstanceId, state: InstanceState) -> Domain {
        let definition = "<domain/>".into();
        Domain { instance, name: "vm".into(), state, definition, ha_enabled: true, priority: 0, memory_mib: 64 }
    }

    #[test]
    fn what_migrated_is_listed_as_such_for_as_long_as_it_is_away() {
        let memory = Memory::default();
        let (here, away) = (domain(VM, InstanceState::Running), domain(VM, InstanceState::Migrated));
        let migrated = BTreeSet::from([VM]);
        assert_eq!(memory.with_migrated(vec![here.clone()], &BTreeSet::new()), vec![here.clone()]);
        assert_eq!(memory.with_migrated(vec![here.clone()], &migrated), vec![here.clone()], "the list is older");
        for _ in 0..2 {
            assert_eq!(memory.with_migrated(Vec::new(), &migrated), vec![away.clone()]);
        }
        assert_eq!(memory.with_migrated(vec![domain(VM, InstanceState::Stopped)], &migrated), [away]);
        assert_eq!(memory.with_migrated(vec![here.clone()], &BTreeSet::new()), [here]);
        assert_eq!(memory.with_migrated(Vec::new(), &BTreeSet::new()), []);
    }

    #[test]
    fn what_is_told_late_to_have_migrated_is_listed_so_all_the_same() {
        for (lists, is_known) in [(1, true), (LISTS_MAX - 1, true), (LISTS_MAX, false)] {
            let memory = Memory::default();
            drop(memory.with_migrated(vec![domain(VM, InstanceState::Running)], &BTreeSet::new()));
            for _ in 0..lists {
                assert_eq!(memory.with_migrated(Vec::new(), &BTreeSet::new()), []);
            }
            let told = memory.with_migrated(Vec::new(), &BTreeSet::from([VM]));
            assert_eq!(told.len(), usize::from(is_known), "{lists} lists later");
        }
    }

    #[test]
    fn what_failed_to_come_back_has_not_crashed_here() {
        let memory = Memory::default();
        let left = memory.with_migrated(vec![domain(VM, InstanceState::Crashed)], &BTreeSet::from([VM]));
        assert_eq!(left, [domain(VM, InstanceState::Migrated)]);
        let crashed = memory.with_migrated(vec![domain(VM, InstanceState::Crashed)], &BTreeSet::new());
        assert_eq!(crashed, [domain(VM, InstanceState::Crashed)]);
    }

    #[test]
    fn what_was_never_listed_is_left_out_and_the_rest_stays_in_order() {
        let memory = Memory::default();
        assert_eq!(memory.with_migrated(Vec::new(), &BTreeSet::from([VM])), []);
        let both = [domain(VM, InstanceState::Running), domain(OTHER, InstanceState::Running)];
        assert_eq!(memory.with_migrated(both.to_vec(), &BTreeSet::new()), both);
        let left = memory.with_migrated(both[1..].to_vec(), &BTreeSet::from([VM]));
        assert_eq!(left, [domain(VM, InstanceState::Migrated), both[1].clone()]);
    }
}
