//! What the log knows of a host from its agent.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{AgentReport, BootId, InstanceId, InstanceReport, InstanceState, LogIndex, Millis, SystemUuid};

/// Boots that are remembered: a report is not under way for longer than it takes to boot so often.
const EARLIER_BOOTS_MAX: usize = 16;

/// What an agent says about its host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AgentFacts {
    /// The running boot.
    pub boot: BootId,
    /// The entry that brought its first report.
    pub boot_at: LogIndex,
    /// The machine's SMBIOS UUID.
    pub system_uuid: Option<SystemUuid>,
    /// Memory for instances, in MiB.
    pub memory_mib: u64,
    /// The instances that are there: they run, or may begin to.
    pub running: BTreeSet<InstanceId>,
    /// Those of them that a live migration brings or takes away.
    pub moving: BTreeSet<InstanceId>,
    /// Those of them that a live migration has brought, or is bringing.
    pub brought: BTreeSet<InstanceId>,
    /// What the boots that were followed by another ran when they were heard last, from the admitted one on.
    pub ran_before: BTreeSet<InstanceId>,
    /// What a live migration was bringing to those boots then, and was not seen to run there, or not since its owner had it again.
    pub came_before: BTreeSet<InstanceId>,
    /// Whether its disk does not keep what it refuses: it could not answer a start with no, so it is no target.
    pub cannot_refuse: bool,
    /// When it listed what runs there, on the host's own clock.
    pub listed: Millis,
    /// The entry that the agent had been told of before it listed what runs there; `None` where the agent did not say.
    pub as_of: Option<LogIndex>,
    /// The entry that brought the list.
    pub list_at: LogIndex,
    /// The entry by which a quorum heard this boot again after it had been lost; 0 where none did.
    pub heard_again_at: LogIndex,
    /// Boots that it reported before, the last one last.
    pub earlier: Vec<BootId>,
}

impl AgentFacts {
    /// Returns what is known after a report that counts.
    pub(super) fn after(before: Option<Self>, at: LogIndex, report: &AgentReport) -> Self {
        let here = |row: &&InstanceReport| row.state.is_here();
        let running: BTreeSet<InstanceId> = report.instances.iter().filter(here).map(|row| row.id).collect();
        let moving: BTreeSet<InstanceId> =
            report.instances.iter().filter(|row| row.state == InstanceState::Moving).map(|row| row.id).collect();
        let mut facts = Self {
            boot: report.boot,
            boot_at: at,
            system_uuid: report.system_uuid,
            memory_mib: report.memory_mib,
            brought: moving.clone(),
            running,
            moving,
            ran_before: BTreeSet::new(),
            came_before: BTreeSet::new(),
            cannot_refuse: report.cannot_refuse,
            listed: report.listed,
            as_of: report.as_of,
            list_at: at,
            heard_again_at: LogIndex::default(),
            earlier: Vec::new(),
        };
        let Some(before) = before else { return facts };
        let (ran_before, came_before) = (before.ran(before.boot), before.came(before.boot));
        facts.system_uuid = facts.system_uuid.or(before.system_uuid);
        facts.earlier = before.earlier;
        if before.boot == report.boot {
            facts.boot_at = before.boot_at;
            facts.brought.extend(before.brought.intersection(&facts.running));
            (facts.ran_before, facts.came_before) = (before.ran_before, before.came_before);
            facts.heard_again_at = before.heard_again_at;
        } else {
            facts.earlier.push(before.boot);
            facts.earlier.drain(..facts.earlier.len().saturating_sub(EARLIER_BOOTS_MAX));
            (facts.ran_before, facts.came_before) = (ran_before, came_before);
        }
        facts
    }

    /// Returns whether the list was made since the host was heard again. What was moved while nobody heard it is missing in an
    /// older one. Only a log of old has lists that do not say how old they are, and is applied as it was.
    pub(crate) fn is_current(&self) -> bool {
        self.as_of.is_none_or(|as_of| self.heard_again_at <= as_of)
    }

    /// Returns an entry that came after every list with an instance here; `None` where no list is known that had it.
    pub(super) fn listed_until(&self, instance: &InstanceId) -> Option<LogIndex> {
        let before = self.ran_before.contains(instance).then_some(self.boot_at);
        self.running.contains(instance).then_some(self.list_at).max(before)
    }

    /// Returns whether an instance runs there, and is not just being moved there or away.
    pub fn runs(&self, instance: &InstanceId) -> bool {
        self.running.contains(instance) && !self.moving.contains(instance)
    }

    /// Returns what a boot of this host and those before it, from the admitted one on, ran when they were heard last, as far
    /// as it is known.
    pub(super) fn ran(&self, boot: BootId) -> BTreeSet<InstanceId> {
        if self.boot == boot {
            let runs = self.running.difference(&self.moving);
            runs.chain(&self.ran_before).copied().collect()
        } else if self.earlier.contains(&boot) {
            self.ran_before.clone()
        } else {
            BTreeSet::new()
        }
    }

    /// Returns what a live migration was bringing to such a boot or those before it, and was not seen to run there. It may have
    /// arrived since.
    pub(super) fn came(&self, boot: BootId) -> BTreeSet<InstanceId> {
        let moving = (self.boot == boot).then_some(&self.moving).into_iter().flatten();
        let before = (self.boot == boot || self.earlier.contains(&boot)).then_some(&self.came_before);
        let ran = self.ran(boot);
        moving.chain(before.into_iter().flatten()).filter(|id| !ran.contains(id)).copied().collect()
    }

    /// Takes what its owner had again since the earlier boots ran it for what may have come to them once more.
    pub(super) fn went_back_before(&mut self, was_back: impl Fn(&InstanceId) -> bool) {
        let (back, ran) = std::mem::take(&mut self.ran_before).into_iter().partition(was_back);
        self.ran_before = ran;
        self.came_before.extend::<BTreeSet<_>>(back);
    }

    /// Keeps of the earlier boots only these instances.
    pub(super) fn keep_of_earlier_boots(&mut self, is_kept: impl Fn(&InstanceId) -> bool) {
        self.ran_before.retain(&is_kept);
        self.came_before.retain(&is_kept);
    }

    /// Forgets that a boot of this host, or one before it, had an instance.
    pub(super) fn forget(&mut self, boot: BootId, instance: &InstanceId) {
        if self.boot == boot {
            self.running.remove(instance);
            self.moving.remove(instance);
        }
        self.keep_of_earlier_boots(|id| id != instance);
    }

    /// Forgets what is over with every boot that reported.
    pub(super) fn all_is_over(&mut self) {
        for set in [&mut self.running, &mut self.moving, &mut self.brought] {
            set.clear();
        }
    }

    /// Returns whether the agent has made a later list in the same boot than this one, which was late on its way: another
    /// controller took it long ago, say.
    pub fn has_said_more(&self, report: &AgentReport) -> bool {
        self.boot == report.boot && report.listed < self.listed
    }
}
