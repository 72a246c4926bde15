//! Segments.

use quorumfence_machine::{Millis, Segment};

use super::{Error, byte, name, number, plain_enum};
use crate::pb;

plain_enum!(RecoveryMethod { Auto });

impl From<Segment> for pb::Segment {
    fn from(segment: Segment) -> Self {
        let Segment { id, failure_threshold, check_interval, evacuation_enabled, method, minimum_healthy_percent } =
            segment;
        Self {
            id: id.into(),
            failure_threshold,
            check_interval_ms: check_interval.0,
            evacuation_enabled,
            method: pb::RecoveryMethod::from(method).into(),
            minimum_healthy_percent: minimum_healthy_percent.into(),
        }
    }
}

impl TryFrom<pb::Segment> for Segment {
    type Error = Error;
    fn try_from(message: pb::Segment) -> Result<Self, Error> {
        Ok(Self {
            id: name(message.id, "id")?,
            failure_threshold: message.failure_threshold,
            check_interval: Millis(message.check_interval_ms),
            evacuation_enabled: message.evacuation_enabled,
            method: number::<pb::RecoveryMethod, _>(message.method, "method")?,
            minimum_healthy_percent: byte(message.minimum_healthy_percent, "minimum_healthy_percent")?,
        })
    }
}
