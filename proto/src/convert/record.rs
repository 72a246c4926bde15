//! Records, as they stand on disk and in snapshots.

use prost::Message;
use quorumfence_machine::{LogIndex, Record, RecordKey, RequestId, StoredReply};

use super::{Error, decode, missing, required, uuid};
use crate::pb;
use crate::pb::record::Kind;

/// Returns a record's bytes for disk. Equal records give equal bytes.
pub fn encode_record(record: &Record) -> Vec<u8> {
    pb::Record::from(record.clone()).encode_to_vec()
}

/// Reads a record from disk.
pub fn decode_record(bytes: &[u8]) -> Result<Record, Error> {
    decode::<pb::Record>(bytes)?.try_into()
}

/// Returns the number of a record's kind and the bytes of its key, which sort as the keys do within one kind.
///
/// Numbers are big-endian, names are their text, identifiers are their 16 bytes. A kind's number is the field number
/// in `Record` and never changes.
pub fn record_key_bytes(key: &RecordKey) -> (u8, Vec<u8>) {
    match key {
        RecordKey::Cluster => (1, Vec::new()),
        RecordKey::Controller(id) => (2, id.0.to_be_bytes().into()),
        RecordKey::JoinToken(id) => (3, id.as_str().into()),
        RecordKey::Segment(id) => (4, id.as_str().into()),
        RecordKey::Host(id) => (5, id.as_str().into()),
        RecordKey::Instance(id) => (6, id.0.into()),
        RecordKey::Fence(token) => (7, token.0.0.to_be_bytes().into()),
        RecordKey::Request(request) => (8, request.0.into()),
        RecordKey::Event(sequence) => (9, sequence.to_be_bytes().into()),
    }
}

impl From<Record> for pb::Record {
    fn from(record: Record) -> Self {
        let kind = match record {
            Record::Cluster(row) => Kind::Cluster(row.into()),
            Record::Controller(row) => Kind::Controller(row.into()),
            Record::JoinToken(row) => Kind::JoinToken(row.into()),
            Record::Segment(row) => Kind::Segment(row.into()),
            Record::Host(row) => Kind::Host(row.into()),
            Record::Instance(row) => Kind::Instance(row.into()),
            Record::Fence(row) => Kind::Fence(row.into()),
            Record::Request(row) => Kind::Request(row.into()),
            Record::Event(row) => Kind::Event(row.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<pb::Record> for Record {
    type Error = Error;
    fn try_from(message: pb::Record) -> Result<Self, Error> {
        Ok(match message.kind.ok_or_else(|| missing("kind"))? {
            Kind::Cluster(row) => Self::Cluster(required(Some(row), "cluster")?),
            Kind::Controller(row) => Self::Controller(row.into()),
            Kind::JoinToken(row) => Self::JoinToken(required(Some(row), "join_token")?),
            Kind::Segment(row) => Self::Segment(required(Some(row), "segment")?),
            Kind::Host(row) => Self::Host(required(Some(row), "host")?),
            Kind::Instance(row) => Self::Instance(required(Some(row), "instance")?),
            Kind::Fence(row) => Self::Fence(required(Some(row), "fence")?),
            Kind::Request(row) => Self::Request(required(Some(row), "request")?),
            Kind::Event(row) => Self::Event(required(Some(row), "event")?),
        })
    }
}

impl From<StoredReply> for pb::StoredReply {
    fn from(stored: StoredReply) -> Self {
        let StoredReply { request, at, reply } = stored;
        Self { request: request.0.into(), at: at.0, answered: Some(reply.into()) }
    }
}

impl TryFrom<pb::StoredReply> for StoredReply {
    type Error = Error;
    fn try_from(message: pb::StoredReply) -> Result<Self, Error> {
        let pb::StoredReply { request, at, answered } = message;
        Ok(Self {
            request: RequestId(uuid(request, "request")?),
            at: LogIndex(at),
            reply: required(answered, "answered")?,
        })
    }
}
