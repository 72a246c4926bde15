//! Segments as the command line shows them.

use quorumfence_machine::{RecoveryMethod, Segment, SegmentId};
use serde::Serialize;

use super::super::output::{Printed, table};

/// One segment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct SegmentView {
    name: SegmentId,
    failure_threshold: u32,
    check_interval_ms: u64,
    evacuation_enabled: bool,
    method: &'static str,
    minimum_healthy_percent: u8,
}

impl Printed for SegmentView {
    const KIND: &'static str = "Segment";
}

impl From<Segment> for SegmentView {
    fn from(segment: Segment) -> Self {
        Self {
            name: segment.id,
            failure_threshold: segment.failure_threshold,
            check_interval_ms: segment.check_interval.0,
            evacuation_enabled: segment.evacuation_enabled,
            method: match segment.method {
                RecoveryMethod::Auto => "auto",
            },
            minimum_healthy_percent: segment.minimum_healthy_percent,
        }
    }
}

/// Returns segments as a table.
pub(in super::super) fn segment_table(segments: &[SegmentView]) -> String {
    let row = |segment: &SegmentView| {
        vec![
            segment.name.to_string(),
            segment.failure_threshold.to_string(),
            quorumfence_machine::Millis(segment.check_interval_ms).to_string(),
            if segment.evacuation_enabled { "on" } else { "off" }.to_string(),
            segment.method.to_string(),
            format!("{} %", segment.minimum_healthy_percent),
        ]
    };
    table(
        &["SEGMENT", "THRESHOLD", "INTERVAL", "EVACUATION", "METHOD", "KEEPS HEALTHY"],
        segments.iter().map(row).collect(),
        "No segment exists; 'quorumfence segment create NAME' makes one.",
    )
}
