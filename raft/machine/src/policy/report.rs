//! Why the policy decided or held back.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Change, HostId, Parking, Proof, Token};

/// What the leader does now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// What it proposes, in order.
    pub changes: Vec<Change>,
    /// Why it holds back the rest.
    pub report: Report,
}

/// Why nothing more is done, host by host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// The reasons, for every host that has one.
    pub hosts: BTreeMap<HostId, Vec<Reason>>,
}

/// Why a host is not fenced, not recovered or not admitted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The cluster is disarmed: it records and does not fence.
    Disarmed,
    /// The host is in maintenance.
    Maintenance,
    /// The host is not enrolled.
    NotEnrolled,
    /// The host has no fencing level: only a new boot or a person can prove it dead.
    NoFencingLevel,
    /// As many fences as allowed are in flight.
    FencesInFlight { in_flight: u32, max: u32 },
    /// The storm brake is closed; `arm` opens it.
    StormBrake,
    /// Too few hosts of the segment would stay healthy.
    MinimumHealthy { healthy: u32, hosts: u32, percent: u8 },
    /// It was fenced and did not report another boot.
    WaitsForNewBoot,
    /// A permit of its fence may still have an effect.
    WaitsForPermits,
    /// Its instances have not all left.
    WaitsForInstances { left: u32 },
    /// Fewer than a majority of controllers hear its present boot.
    WaitsForHeartbeats { heard: u32, needed: u32 },
    /// Every level was tried without a proof; a person is needed.
    NeedsHuman { token: Token },
    /// The host's proof is of a class that the settings do not accept.
    ProofNotEnough { proof: Proof },
    /// A host has listed instances that are to move in a boot that is not proven over: they may still run there.
    WaitsForCopies { instances: u32, host: HostId },
    /// Most controllers do not hear a host that is up, and too few of them can say that it is dead.
    NobodyCanTell { host: HostId },
    /// An instance found no place.
    Parked { instances: u32, why: Parking },
}

impl Report {
    /// Adds a reason for a host.
    pub fn note(&mut self, host: &HostId, reason: Reason) {
        self.hosts.entry(host.clone()).or_default().push(reason);
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disarmed => f.write_str("the cluster is disarmed; 'quorumfence arm' lets it fence"),
            Self::Maintenance => f.write_str("the host is in maintenance"),
            Self::NotEnrolled => {
                f.write_str("the host is not enrolled; 'quorumfence host enrol' gives it a segment and a BMC")
            }
            Self::NoFencingLevel => {
                f.write_str("the host has no fencing level; only a new boot or 'host confirm-dead' can prove it dead")
            }
            Self::FencesInFlight { in_flight, max } => write!(f, "{in_flight} of {max} allowed fences are in flight"),
            Self::StormBrake => {
                f.write_str("the storm brake is closed; look for a common cause, then 'quorumfence arm' opens it")
            }
            Self::MinimumHealthy { healthy, hosts, percent } => {
                write!(f, "only {healthy} of {hosts} hosts would stay healthy; the segment keeps {percent} %")
            }
            Self::WaitsForNewBoot => f.write_str("fenced; it returns when its agent reports another boot"),
            Self::WaitsForPermits => f.write_str("a late order of its fence may still arrive; admission waits"),
            Self::WaitsForInstances { left } => {
                write!(f, "{left} of its instances have no new home yet; admission waits")
            }
            Self::WaitsForHeartbeats { heard, needed } => {
                write!(f, "{heard} controllers hear its present boot and {needed} are needed")
            }
            Self::NeedsHuman { token } => {
                write!(
                    f,
                    "no fencing level proved it off (token {token}); power it off by hand, then 'quorumfence host confirm-dead'"
                )
            }
            Self::ProofNotEnough { proof } => write!(f, "the settings do not accept this proof: {proof}"),
            Self::WaitsForCopies { instances, host } => {
                write!(
                    f,
                    "{instances} of its instances may still run on host {host}; they move once its agent lists what runs there, without them. If {host} is off, 'quorumfence host confirm-dead {host}' says so"
                )
            }
            Self::NobodyCanTell { host } => {
                write!(
                    f,
                    "most controllers do not hear it, and too few can say that it is dead: who hears hardly any host may be cut off itself. If it is off, 'quorumfence host confirm-dead {host}' says so"
                )
            }
            Self::Parked { instances, why } => write!(f, "{instances} instance(s) parked: {why}"),
        }
    }
}
