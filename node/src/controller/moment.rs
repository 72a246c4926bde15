//! Moments: when what happened around a fence, to the millisecond, as this controller saw it.
//!
//! For people: the timeline of the demo and the figures of added time. Nothing is decided by them, they are not
//! replicated, and old ones go.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};

use quorumfence_machine::{
    Event, HostId, InstanceId, InstanceState, LogIndex, Millis, Outcome, Power, Token, Verdict, WallMillis,
};
use tokio::sync::watch;

/// Moments that are kept; the oldest go first. A fence with its recovery makes about thirty.
const MOMENTS_MAX: usize = 4096;

/// One moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// When, on this controller's monotonic clock.
    pub at: Millis,
    /// When, on this controller's wall clock.
    pub wall: WallMillis,
    /// The host that it is about.
    pub host: HostId,
    /// The decision that it rests on, if on one.
    pub token: Option<Token>,
    /// What happened.
    pub kind: Kind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The last heartbeat before the host became suspect.
    LastHeartbeat,
    /// The host's fencing devices are asked whether its power is off.
    BmcAsked,
    /// What they said.
    BmcRead(Outcome<Power>),
    /// This controller proposes another verdict.
    Voted(Verdict),
    /// An entry changed something about the host.
    Committed {
        /// The entry.
        at: LogIndex,
        /// What changed.
        event: Event,
    },
    /// Off goes to a device.
    OffSent {
        /// Its address.
        device: String,
        /// Time since this controller applied the entry that made the host lost.
        since_lost: Option<Millis>,
    },
    /// The device accepted the order, which is not off.
    OffAccepted {
        /// Its address.
        device: String,
    },
    /// The device read off.
    OffRead {
        /// Its address.
        device: String,
    },
    /// The device read off in a second session.
    OffConfirmed {
        /// Its address.
        device: String,
    },
    /// A start order goes to an agent. The moment's host is the fenced one.
    StartOrdered {
        /// The instance.
        instance: InstanceId,
        /// The agent's host.
        to: HostId,
        /// Time since this controller applied the proof.
        since_proof: Option<Millis>,
    },
    /// The agent answered.
    StartAnswered {
        /// The instance.
        instance: InstanceId,
        /// The agent's host.
        to: HostId,
        /// What it saw.
        outcome: Outcome<InstanceState>,
    },
}

/// A moment without its number.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) at: Millis,
    pub(crate) wall: WallMillis,
    pub(crate) host: HostId,
    pub(crate) token: Option<Token>,
    pub(crate) kind: Kind,
}

/// The newest moments.
#[derive(Debug)]
pub(crate) struct Moments {
    kept: Mutex<VecDeque<Moment>>,
    newest: watch::Sender<u64>,
}

impl Moments {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), newest: watch::Sender::new(0) }
    }

    pub(crate) fn note(&self, mark: Mark) {
        let Mark { at, wall, host, token, kind } = mark;
        let sequence = {
            let mut kept = self.kept();
            if kept.len() >= MOMENTS_MAX {
                kept.pop_front();
            }
            let sequence = kept.back().map_or(0, |last| last.sequence) + 1;
            kept.push_back(Moment { sequence, at, wall, host, token, kind });
            sequence
        };
        // Two tasks may note at once; the newest number never goes back.
        self.newest.send_if_modified(|newest| {
            let grows = *newest < sequence;
            *newest = (*newest).max(sequence);
            grows
        });
    }

    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    pub(crate) fn from(&self, first: u64) -> Vec<Moment> {
        self.kept().iter().filter(|moment| moment.sequence >= first).cloned().collect()
    }

    /// Returns when this controller applied the newest entry about `host` that `is_it` picks.
    pub(crate) fn committed_at(&self, host: &HostId, is_it: impl Fn(&Event) -> bool) -> Option<Millis> {
        let picks = |moment: &&Moment| match &moment.kind {
            Kind::Committed { event, .. } => moment.host == *host && is_it(event),
            Kind::LastHeartbeat
            | Kind::BmcAsked
            | Kind::BmcRead(_)
            | Kind::Voted(_)
            | Kind::OffSent { .. }
            | Kind::OffAccepted { .. }
            | Kind::OffRead { .. }
            | Kind::OffConfirmed { .. }
            | Kind::StartOrdered { .. }
            | Kind::StartAnswered { .. } => false,
        };
        self.kept().iter().rev().find(picks).map(|moment| moment.at)
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Moment>> {
        self.kept.lock().expect("nothing panics while it holds the moments")
    }
}

/// Returns the host and the decision that an event is about; `None` when it is about no host.
pub(crate) fn subject(event: &Event) -> Option<(&HostId, Option<Token>)> {
    match event {
        Event::AgentJoined { host }
        | Event::HostEnrolled { host, .. }
        | Event::MaintenanceStarted { host, .. }
        | Event::MaintenanceEnded { host }
        | Event::HostBooted { host, .. }
        | Event::HostAdmitted { host, .. }
        | Event::VoteCast { host, .. }
        | Event::HostLost { host, .. }
        | Event::HostRegained { host }
        | Event::HostRebooted { host, .. }
        | Event::StormBrakeClosed { host }
        | Event::InstanceRegistered { host, .. }
        | Event::InstanceStray { host, .. }
        | Event::InstanceMoved { to: host, .. } => Some((host, None)),
        Event::FenceDecided { host, token }
        | Event::PermitGranted { host, token, .. }
        | Event::FenceAttemptFailed { host, token, .. }
        | Event::FenceNeedsHuman { host, token }
        | Event::HostFenced { host, token, .. }
        | Event::StartRefused { host, token, .. }
        | Event::InstanceStarted { host, token, .. }
        | Event::RecoveryPlanned { from: host, token, .. }
        | Event::RecoveryFinished { host, token, .. } => Some((host, Some(*token))),
        Event::ClusterCreated { .. }
        | Event::SettingsChanged { .. }
        | Event::Armed { .. }
        | Event::Disarmed { .. }
        | Event::JoinTokenCreated { .. }
        | Event::ControllerJoined { .. }
        | Event::VotersChanged { .. }
        | Event::SegmentCreated { .. } => None,
    }
}
