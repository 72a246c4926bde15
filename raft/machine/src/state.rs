//! The replicated state: everything that the quorum has agreed on.
//!
//! `apply` is the only way in. It is total and deterministic: the same log gives the same state, byte by byte, on
//! every controller. What it refuses changes nothing but the cluster's clock and the record of the request.

mod apply;
mod changes;
mod check;
mod cluster;
mod digest;
mod facts;
mod fence;
mod host;
mod instance;
mod recovery;
mod settings;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::rig as tests_rig;
mod vote;

use std::collections::{BTreeMap, BTreeSet};

pub use changes::{Record, RecordKey};
pub use check::Flaw;
pub use cluster::{Cluster, Controller, JoinToken, REQUESTS_MAX, StoredReply};
pub use digest::Digest;
pub use facts::AgentFacts;
pub(crate) use fence::unclear_since;
pub use fence::{Fence, Permit, Proof, ProofClass, Stage};
pub(crate) use host::admission_waits_for;
pub use host::{CastVote, Host, HostState, Maintenance};
pub use instance::{Assignment, Death, Instance, Recovery, RecoveryStage};
pub(crate) use recovery::{may_run_on, runs_since, waits_for_lists};
pub use settings::{HEARTBEAT_INTERVAL_MAX, SETTINGS_FORMAT_HELP, STORM_WINDOW_MAX, Settings};
use table::Table;

use crate::{
    Applied, BootId, Command, ControllerId, Event, EventRecord, HostId, InstanceId, InstanceState, JoinTokenId,
    LogIndex, RequestId, Segment, SegmentId, Token, Work,
};

/// Events kept in the state; older ones leave with the oldest first. The audit trail keeps them all outside.
pub const EVENTS_MAX: u64 = 10_000;

/// The replicated state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    cluster: Table<(), Cluster>,
    controllers: Table<ControllerId, Controller>,
    join_tokens: Table<JoinTokenId, JoinToken>,
    segments: Table<SegmentId, Segment>,
    hosts: Table<HostId, Host>,
    instances: Table<InstanceId, Instance>,
    fences: Table<Token, Fence>,
    requests: Table<RequestId, StoredReply>,
    events: Table<u64, EventRecord>,
}

impl State {
    /// Applies one committed command. Never panics, whatever the command says.
    pub fn apply(&mut self, at: LogIndex, command: &Command) -> Applied {
        apply::apply(self, at, command)
    }

    /// Applies a committed change of the voters. Votes of controllers that left no longer count.
    pub fn apply_voters(&mut self, at: LogIndex, voters: &BTreeSet<ControllerId>) -> Vec<Event> {
        apply::apply_voters(self, at, voters)
    }

    /// Returns what somebody must now do, sorted. Depends on nothing but the state.
    pub fn work(&self) -> Vec<Work> {
        let mut work = fence::work(self);
        work.extend(recovery::work(self));
        work.sort();
        work
    }

    /// Returns every way in which this state contradicts itself; empty when all is well.
    pub fn check(&self) -> Vec<Flaw> {
        check::check(self)
    }

    /// Returns a fingerprint of the whole state, equal on all replicas at equal index.
    pub fn digest(&self) -> Digest {
        digest::digest(self)
    }

    /// Returns the cluster's own record; `None` before `ClusterCreate`.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.get(&())
    }

    /// Returns the settings, or the defaults before the cluster exists.
    pub fn settings(&self) -> Settings {
        self.cluster().map_or_else(Settings::default, |cluster| cluster.settings.clone())
    }

    /// Returns the controllers, by id.
    pub fn controllers(&self) -> impl Iterator<Item = &Controller> {
        self.controllers.values()
    }

    /// Returns a host.
    pub fn host(&self, id: &HostId) -> Option<&Host> {
        self.hosts.get(id)
    }

    /// Returns the hosts, by name.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// Returns the segments, by name.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values()
    }

    /// Returns a segment.
    pub fn segment(&self, id: &SegmentId) -> Option<&Segment> {
        self.segments.get(id)
    }

    /// Returns an instance.
    pub fn instance(&self, id: &InstanceId) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// Returns the instances, by id.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances.values()
    }

    /// Returns the hosts whose agents are to list what is there, each with the entry that they must know of: they have not
    /// listed what was started there, own what another host ran too that was proven dead since, or listed what the log gave
    /// to another host since.
    ///
    /// A list on its way settles it. Where none is, an agent that is asked says so.
    pub fn unlisted(&self) -> BTreeMap<HostId, LogIndex> {
        let mut hosts: BTreeMap<HostId, LogIndex> = BTreeMap::new();
        for row in self.instances.values().filter(|row| row.state == InstanceState::Running && row.recovery.is_none()) {
            let Some(started) = row.started_at else { continue };
            let owner = self.hosts.get(&row.owner).filter(|owner| owner.up_boot().is_some());
            let listed =
                owner.and_then(|owner| owner.agent.as_ref()).is_none_or(|agent| agent.running.contains(&row.id));
            if !listed {
                let last = hosts.entry(row.owner.clone()).or_insert(started);
                *last = started.max(*last);
            }
        }
        for (host, since) in recovery::to_be_listed(self).chain(recovery::told_of_old(self)) {
            let last = hosts.entry(host.clone()).or_insert(since);
            *last = since.max(*last);
        }
        hosts
    }

    /// Returns who may run an instance now: its holder, unless it may still run somewhere else. This is what an agent asks
    /// before it starts anything.
    pub fn holder(&self, id: &InstanceId) -> Option<(&HostId, Token, Option<BootId>)> {
        let (host, token, boot) = self.instance(id)?.holder()?;
        let is_free = boot.is_none() || may_run_on(self, *id).all(|other| other.id == *host);
        is_free.then_some((host, token, boot))
    }

    /// Returns a fence.
    pub fn fence(&self, token: &Token) -> Option<&Fence> {
        self.fences.get(token)
    }

    /// Returns the fences that are kept, oldest first.
    pub fn fences(&self) -> impl Iterator<Item = &Fence> {
        self.fences.values()
    }

    /// Returns what a request was answered, while its answer is kept.
    pub fn answered(&self, request: &RequestId) -> Option<&StoredReply> {
        self.requests.get(request)
    }

    /// Returns the kept events from number `first` on.
    pub fn events_from(&self, first: u64) -> impl Iterator<Item = &EventRecord> {
        self.events.range(first..)
    }

    /// Returns the join tokens. Their secrets are not here: only hashes.
    pub fn join_tokens(&self) -> impl Iterator<Item = &JoinToken> {
        self.join_tokens.values()
    }
}
