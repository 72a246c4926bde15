//! Every kind of change, event, reason and rejection: none may be without an entry in a journal.

use std::collections::BTreeSet;

use quorumfence_machine::{Applied, Change, Event, Reason, Rejected, Report};

/// Makes the list of an enum's variants and the function that names them. A new variant does not compile until it is
/// listed.
macro_rules! kinds {
    ($list:ident, $function:ident, $type:ident: $($variant:ident)*) => {
        const $list: &[&str] = &[$(stringify!($variant)),*];

        pub(crate) fn $function(of: &$type) -> &'static str {
            match of {
                $($type::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

kinds! {
    CHANGES, change, Change:
    ClusterCreate SettingsSet Arm Disarm JoinTokenCreate Join SegmentCreate HostEnrol HostMaintenance HostConfirmDead
    AgentReport Votes HostAdmit FenceDecide PermitGrant FenceResult FenceNewBoot RecoveryPlan RecoveryResult
}

kinds! {
    EVENTS, event, Event:
    ClusterCreated SettingsChanged Armed Disarmed JoinTokenCreated ControllerJoined VotersChanged AgentJoined
    SegmentCreated HostEnrolled MaintenanceStarted MaintenanceEnded HostBooted HostAdmitted VoteCast HostLost
    HostRegained HostRebooted FenceDecided PermitGranted FenceAttemptFailed FenceNeedsHuman HostFenced
    StormBrakeClosed InstanceRegistered InstanceMoved InstanceStray RecoveryPlanned StartRefused InstanceStarted
    RecoveryFinished
}

kinds! {
    REASONS, reason, Reason:
    Disarmed Maintenance NotEnrolled NoFencingLevel FencesInFlight StormBrake MinimumHealthy WaitsForNewBoot
    WaitsForPermits WaitsForInstances WaitsForHeartbeats WaitsForCopies NobodyCanTell NeedsHuman ProofNotEnough
    Parked
}

kinds! {
    REJECTIONS, rejection, Rejected:
    ClusterExists NoCluster UnknownHost UnknownSegment SegmentExists Invalid JoinToken JoinTokenExists HostTaken
    DeviceTaken WrongMachine HostLives NotAVoter NoParent Held WrongBoot NoAssignment
}

/// The kinds that journals show.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    changes: BTreeSet<&'static str>,
    events: BTreeSet<&'static str>,
    reasons: BTreeSet<&'static str>,
    rejections: BTreeSet<&'static str>,
}

impl Shown {
    pub(crate) fn take(&mut self, asked: &Change, applied: &Applied, report: &Report) {
        self.changes.insert(change(asked));
        self.take_events(&applied.events);
        self.reasons.extend(report.hosts.values().flatten().map(reason));
        if let Err(rejected) = &applied.reply {
            self.rejections.insert(rejection(rejected));
        }
        if let Err(Rejected::Held(why)) = &applied.reply {
            self.reasons.insert(reason(why));
        }
    }

    pub(crate) fn take_events(&mut self, events: &[Event]) {
        self.events.extend(events.iter().map(event));
    }

    /// Returns every kind that no entry shows.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let lists = [
            (CHANGES, &self.changes),
            (EVENTS, &self.events),
            (REASONS, &self.reasons),
            (REJECTIONS, &self.rejections),
        ];
        let missing = lists.into_iter().flat_map(|(all, shown)| all.iter().filter(|kind| !shown.contains(**kind)));
        missing.copied().collect()
    }
}
