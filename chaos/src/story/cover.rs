//! Which events and reasons a story's log shows: none may be without a story.

use std::collections::BTreeSet;

use quorumfence_machine::{Event, Parking, Reason};

use super::Told;
use crate::observation::Seen;
use crate::world::sim::asides::Aside;

/// Makes the list of an enum's variants and the function that names them. A new variant does not compile until it is
/// listed.
macro_rules! kinds {
    ($(#[$meta:meta])* $list:ident, $function:ident, $type:ident: $($variant:ident)*) => {
        $(#[$meta])*
        pub const $list: &[&str] = &[$(stringify!($variant)),*];

        fn $function(of: &$type) -> &'static str {
            match of {
                $($type::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

kinds! {
    /// Every kind of event.
    EVENTS, event, Event:
    ClusterCreated SettingsChanged Armed Disarmed JoinTokenCreated ControllerJoined VotersChanged AgentJoined
    SegmentCreated HostEnrolled MaintenanceStarted MaintenanceEnded HostBooted HostAdmitted VoteCast HostLost
    HostRegained HostRebooted FenceDecided PermitGranted FenceAttemptFailed FenceNeedsHuman HostFenced
    StormBrakeClosed InstanceRegistered InstanceMoved InstanceStray RecoveryPlanned StartRefused InstanceStarted
    RecoveryFinished
}

kinds! {
    /// Every kind of reason.
    REASONS, reason, Reason:
    Disarmed Maintenance NotEnrolled NoFencingLevel FencesInFlight StormBrake MinimumHealthy WaitsForNewBoot
    WaitsForPermits WaitsForInstances WaitsForHeartbeats WaitsForCopies NobodyCanTell NeedsHuman ProofNotEnough
    Parked
}

kinds! {
    /// Why an instance may be parked.
    PARKINGS, parking, Parking: NoHost NoRoom Refused EvacuationDisabled
}

/// What logs show.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// Kinds of events.
    pub events: BTreeSet<&'static str>,
    /// Kinds of reasons.
    pub reasons: BTreeSet<&'static str>,
    /// Kinds of parking among the reasons.
    pub parkings: BTreeSet<&'static str>,
}

impl Shown {
    /// Adds what the log of one play shows.
    pub fn take(&mut self, told: &Told, founding: bool) {
        let is_told = |at| founding || at >= told.began;
        for seen in told.history.iter().filter(|seen| is_told(seen.at)) {
            if let Seen::Applied { events, .. } = &seen.seen {
                self.events.extend(events.iter().map(event));
            }
        }
        for (_, aside) in &told.asides {
            let Aside::Explained { reasons, .. } = aside else { continue };
            self.reasons.extend(reasons.iter().map(reason));
            self.parkings.extend(reasons.iter().filter_map(|reason| match reason {
                Reason::Parked { why, .. } => Some(parking(why)),
                Reason::Disarmed
                | Reason::Maintenance
                | Reason::NotEnrolled
                | Reason::NoFencingLevel
                | Reason::FencesInFlight { .. }
                | Reason::StormBrake
                | Reason::MinimumHealthy { .. }
                | Reason::WaitsForNewBoot
                | Reason::WaitsForPermits
                | Reason::WaitsForInstances { .. }
                | Reason::WaitsForHeartbeats { .. }
                | Reason::WaitsForCopies { .. }
                | Reason::NobodyCanTell { .. }
                | Reason::NeedsHuman { .. }
                | Reason::ProofNotEnough { .. } => None,
            }));
        }
    }

    /// Adds what another log shows.
    pub fn add(&mut self, other: Self) {
        self.events.extend(other.events);
        self.reasons.extend(other.reasons);
        self.parkings.extend(other.parkings);
    }
}
