//! Fences as the command line shows them.

use quorumfence_machine::{BootId, Fence, HostId, Proof, Stage};
use serde::Serialize;

use super::super::output::{Printed, table};

/// One fence.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct FenceView {
    pub(in super::super) token: u64,
    pub(in super::super) host: HostId,
    boot: Option<BootId>,
    lost_at: u64,
    stage: &'static str,
    level: u8,
    attempt: u32,
    refused_levels: Vec<u8>,
    proof: Option<ProofView>,
    permits: Vec<PermitView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProofView {
    class: &'static str,
    log_index: u64,
    message: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PermitView {
    log_index: u64,
    executor: u64,
    level: u8,
    ended: bool,
}

impl Printed for FenceView {
    const KIND: &'static str = "Fence";
}

impl From<Fence> for FenceView {
    fn from(fence: Fence) -> Self {
        let (stage, proof) = match fence.stage {
            Stage::Working => ("working", None),
            Stage::NeedsHuman => ("needs human", None),
            Stage::Proven { at, proof } => {
                let view = ProofView { class: class(&proof), log_index: at.0, message: proof.to_string() };
                ("proven", Some(view))
            }
        };
        let permits = fence.permits.iter();
        let permits = permits.map(|permit| PermitView {
            log_index: permit.at.0,
            executor: permit.executor.0,
            level: permit.level + 1,
            ended: permit.ended,
        });
        Self {
            token: fence.token.0.0,
            host: fence.host,
            boot: fence.boot,
            lost_at: fence.lost_at.0,
            stage,
            level: fence.level + 1,
            attempt: fence.attempt,
            refused_levels: fence.refused.iter().map(|level| level + 1).collect(),
            proof,
            permits: permits.collect(),
        }
    }
}

fn class(proof: &Proof) -> &'static str {
    match proof {
        Proof::PowerOffVerified { .. } => "power off verified",
        Proof::NewBootId { .. } => "new boot id",
        Proof::Human { .. } => "human",
    }
}

/// Returns fences as a table.
pub(in super::super) fn fence_table(fences: &[FenceView]) -> String {
    let row = |fence: &FenceView| {
        vec![
            format!("#{}", fence.token),
            fence.host.to_string(),
            fence.stage.to_string(),
            fence.level.to_string(),
            fence.permits.len().to_string(),
            fence.proof.as_ref().map_or_else(|| "-".into(), |proof| proof.message.clone()),
        ]
    };
    table(
        &["TOKEN", "HOST", "STAGE", "LEVEL", "PERMITS", "PROOF"],
        fences.iter().map(row).collect(),
        "No fence is kept: nothing was fenced.",
    )
}
