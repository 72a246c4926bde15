//! Records: the state cut into rows, for disk and for snapshots.

use super::{Cluster, Controller, Fence, Host, Instance, JoinToken, State, StoredReply};
use crate::{ControllerId, EventRecord, HostId, InstanceId, JoinTokenId, RequestId, Segment, SegmentId, Token};

/// One row of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The cluster's own record.
    Cluster(Cluster),
    /// A controller.
    Controller(Controller),
    /// A join token.
    JoinToken(JoinToken),
    /// A segment.
    Segment(Segment),
    /// A host.
    Host(Host),
    /// An instance.
    Instance(Instance),
    /// A fence.
    Fence(Fence),
    /// A request that was answered, so that a retry gets the same answer.
    Request(StoredReply),
    /// An event.
    Event(EventRecord),
}

/// The name of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// The cluster's own record.
    Cluster,
    /// A controller.
    Controller(ControllerId),
    /// A join token.
    JoinToken(JoinTokenId),
    /// A segment.
    Segment(SegmentId),
    /// A host.
    Host(HostId),
    /// An instance.
    Instance(InstanceId),
    /// A fence.
    Fence(Token),
    /// An answered request.
    Request(RequestId),
    /// An event, by its number.
    Event(u64),
}

impl Record {
    /// Returns the name of this row.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Cluster(_) => RecordKey::Cluster,
            Self::Controller(row) => RecordKey::Controller(row.id),
            Self::JoinToken(row) => RecordKey::JoinToken(row.id.clone()),
            Self::Segment(row) => RecordKey::Segment(row.id.clone()),
            Self::Host(row) => RecordKey::Host(row.id.clone()),
            Self::Instance(row) => RecordKey::Instance(row.id),
            Self::Fence(row) => RecordKey::Fence(row.token),
            Self::Request(row) => RecordKey::Request(row.request),
            Self::Event(row) => RecordKey::Event(row.sequence),
        }
    }
}

impl State {
    /// Returns every row, sorted by kind and key: a snapshot of the state.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        records.extend(self.cluster.values().cloned().map(Record::Cluster));
        records.extend(self.controllers.values().cloned().map(Record::Controller));
        records.extend(self.join_tokens.values().cloned().map(Record::JoinToken));
        records.extend(self.segments.values().cloned().map(Record::Segment));
        records.extend(self.hosts.values().cloned().map(Record::Host));
        records.extend(self.instances.values().cloned().map(Record::Instance));
        records.extend(self.fences.values().cloned().map(Record::Fence));
        records.extend(self.requests.values().cloned().map(Record::Request));
        records.extend(self.events.values().cloned().map(Record::Event));
        records
    }

    /// Builds the state that these rows describe.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Self {
        let mut state = Self::default();
        for record in records {
            match record {
                Record::Cluster(row) => state.cluster.load((), row),
                Record::Controller(row) => state.controllers.load(row.id, row),
                Record::JoinToken(row) => state.join_tokens.load(row.id.clone(), row),
                Record::Segment(row) => state.segments.load(row.id.clone(), row),
                Record::Host(row) => state.hosts.load(row.id.clone(), row),
                Record::Instance(row) => state.instances.load(row.id, row),
                Record::Fence(row) => state.fences.load(row.token, row),
                Record::Request(row) => state.requests.load(row.request, row),
                Record::Event(row) => state.events.load(row.sequence, row),
            }
        }
        state
    }

    /// Returns the rows that changed since the last call, `None` for those that went.
    pub fn take_changes(&mut self) -> Vec<(RecordKey, Option<Record>)> {
        let mut changes = Vec::new();
        macro_rules! take {
            ($table:ident, $kind:ident, $key:expr) => {
                for (key, row) in self.$table.take_changed() {
                    changes.push(($key(key), row.cloned().map(Record::$kind)));
                }
            };
        }
        take!(cluster, Cluster, |()| RecordKey::Cluster);
        take!(controllers, Controller, RecordKey::Controller);
        take!(join_tokens, JoinToken, RecordKey::JoinToken);
        take!(segments, Segment, RecordKey::Segment);
        take!(hosts, Host, RecordKey::Host);
        take!(instances, Instance, RecordKey::Instance);
        take!(fences, Fence, RecordKey::Fence);
        take!(requests, Request, RecordKey::Request);
        take!(events, Event, RecordKey::Event);
        changes
    }
}
