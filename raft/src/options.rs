//! Timing and retention of a replica.

use openraft::{Config, SnapshotPolicy};
use quorumfence_machine::Millis;

use crate::OpenError;

/// Timing and retention of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How often a leader shows itself.
    pub heartbeat: Millis,
    /// The shortest silence after which a follower asks for an election.
    pub election_min: Millis,
    /// The longest silence, and the life of a leader's lease.
    pub election_max: Millis,
    /// Entries between two snapshots.
    pub snapshot_after: u64,
    /// Entries that stay behind a snapshot, so that a follower that was away briefly needs no snapshot.
    pub log_kept: u64,
    /// How long sending and installing one snapshot may take.
    pub install_timeout: Millis,
    /// How long a proposal, a linearizable read or a change of the members may take as a whole.
    pub call_deadline: Millis,
}

impl Default for Options {
    /// A disk's sync and a busy network fit many times into an election.
    fn default() -> Self {
        Self {
            heartbeat: Millis(200),
            election_min: Millis(1000),
            election_max: Millis(2000),
            snapshot_after: 5000,
            log_kept: 1000,
            install_timeout: Millis(30_000),
            call_deadline: Millis(10_000),
        }
    }
}

impl Options {
    /// Returns the timing of laboratories and tests, where everything is one machine.
    pub fn fast() -> Self {
        Self { heartbeat: Millis(50), election_min: Millis(250), election_max: Millis(500), ..Self::default() }
    }

    /// How long one call of the log's lane may take: a follower syncs its disk before it answers.
    pub(crate) fn append_deadline(&self) -> Millis {
        self.election_min
    }

    pub(crate) fn config(&self, cluster: &str) -> Result<Config, OpenError> {
        let config = Config {
            cluster_name: cluster.into(),
            heartbeat_interval: self.heartbeat.0,
            election_timeout_min: self.election_min.0,
            election_timeout_max: self.election_max.0,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_after),
            // Openraft wants a lagging follower to be further behind than a snapshot can lag.
            replication_lag_threshold: self.snapshot_after.saturating_add(self.log_kept),
            max_in_snapshot_log_to_keep: self.log_kept,
            install_snapshot_timeout: self.install_timeout.0,
            backoff: "50ms 100ms 200ms ...500ms".into(),
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            // With five voters an old leader that reaches one bridge node could renew that node's lease for ever.
            quorum_loss_probe_interval: Some(2 * self.election_max.0 + self.heartbeat.0),
            ..Config::default()
        };
        let config = config.validate().map_err(|error| OpenError::Options(error.to_string()))?;
        // A restored leader could write different entries under the ids of those that it lost with its power.
        assert_eq!(config.enable_leader_restore, Some(false), "a restarted leader must be elected again");
        assert_eq!(config.enable_pre_vote, Some(true), "a returning node must not disturb the leader");
        Ok(config)
    }
}
