//! Instances as the command line shows them.

use quorumfence_machine::{HostId, Instance, InstanceId, InstanceState, Recovery, RecoveryStage};
use serde::Serialize;

use super::super::output::{Printed, facts, table};
use super::dash;

/// One instance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct InstanceView {
    pub(in super::super) id: InstanceId,
    name: String,
    ha_enabled: bool,
    priority: u16,
    memory_mib: u64,
    owner: HostId,
    token: u64,
    state: &'static str,
    recovery: Option<RecoveryView>,
}

/// An instance's way to a new owner.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct RecoveryView {
    fence: u64,
    stage: &'static str,
    target: Option<HostId>,
    why: Option<String>,
    refusals: u32,
}

impl Printed for InstanceView {
    const KIND: &'static str = "Instance";
}

impl From<Instance> for InstanceView {
    fn from(instance: Instance) -> Self {
        Self {
            id: instance.id,
            name: instance.name,
            ha_enabled: instance.ha_enabled,
            priority: instance.priority,
            memory_mib: instance.memory_mib,
            owner: instance.owner,
            token: instance.token.0.0,
            state: state(instance.state),
            recovery: instance.recovery.map(RecoveryView::from),
        }
    }
}

impl From<Recovery> for RecoveryView {
    fn from(recovery: Recovery) -> Self {
        let (stage, target, why) = match recovery.stage {
            RecoveryStage::Waiting => ("waiting", None, None),
            RecoveryStage::Assigned(assignment) => ("starting", Some(assignment.host), None),
            RecoveryStage::Parked(why) => ("parked", None, Some(why.to_string())),
            RecoveryStage::Refused { host, refusal } => ("refused", Some(host), Some(refusal.to_string())),
        };
        Self { fence: recovery.fence.0.0, stage, target, why, refusals: recovery.refusals }
    }
}

impl RecoveryView {
    /// Returns the recovery in a few words.
    pub(in super::super) fn words(&self) -> String {
        let target = self.target.as_ref().map(|host| format!(" on {host}")).unwrap_or_default();
        let why = self.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{}{target}{why}", self.stage)
    }
}

/// Returns an instance's state in a word.
pub(in super::super) fn state(state: InstanceState) -> &'static str {
    match state {
        InstanceState::Running => "running",
        InstanceState::Stopped => "stopped",
        InstanceState::Crashed => "crashed",
        InstanceState::Moving => "moving",
        InstanceState::Migrated => "migrated",
    }
}

/// Returns instances as a table.
pub(in super::super) fn instance_table(instances: &[InstanceView]) -> String {
    let row = |instance: &InstanceView| {
        vec![
            instance.id.to_string(),
            instance.name.clone(),
            instance.owner.to_string(),
            instance.state.to_string(),
            if instance.ha_enabled { "yes" } else { "no" }.to_string(),
            instance.priority.to_string(),
            instance.memory_mib.to_string(),
            dash(instance.recovery.as_ref().map(RecoveryView::words)),
        ]
    };
    table(
        &["INSTANCE", "NAME", "OWNER", "STATE", "HA", "PRIORITY", "MEMORY MIB", "RECOVERY"],
        instances.iter().map(row).collect(),
        "No instance is known: agents report them.",
    )
}

/// Returns one instance with all that is known.
pub(in super::super) fn instance_facts(instance: &InstanceView) -> String {
    facts(&[
        ("instance", instance.id.to_string()),
        ("name", instance.name.clone()),
        ("owner", format!("{} (log #{})", instance.owner, instance.token)),
        ("state", instance.state.to_string()),
        ("high availability", if instance.ha_enabled { "yes" } else { "no" }.to_string()),
        ("priority", instance.priority.to_string()),
        ("memory", format!("{} MiB", instance.memory_mib)),
        ("recovery", dash(instance.recovery.as_ref().map(RecoveryView::words))),
    ])
}
