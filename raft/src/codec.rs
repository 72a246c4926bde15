//! Between openraft's types and the bytes of the wire contract.
//!
//! Encoding and decoding are inverse; what does not decode is an error and never a default.

pub(crate) mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;
use openraft::impls::{BasicNode, leader_id_std};
use openraft::vote::RaftLeaderId;
use prost::Message;
use quorumfence_machine::Command;
use quorumfence_proto::{ENTRY_FORMAT, convert, pb};
use quorumfence_storage::{BoxError, EntryCodec};

use crate::types::{Entry, LogId, Membership, Payload, Proposal, StoredMembership, TypeConfig, Vote};
use crate::{Peer, Runtime};

/// Why bytes or a message could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes are no protobuf message of that kind.
    #[error("the bytes do not decode")]
    Bytes(#[from] prost::DecodeError),
    /// A field that must be there is absent.
    #[error("{message} has no {field}")]
    Missing {
        /// The message.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// The bytes have a format that this release does not know.
    #[error("format {found} of {what} is not known; it was probably written by a newer release")]
    Format {
        /// What has the format.
        what: &'static str,
        /// The format.
        found: u32,
    },
    /// The values break a rule of the machine's types.
    #[error("{what} holds a value that cannot be")]
    Value {
        /// What was converted.
        what: &'static str,
        /// The rule.
        #[source]
        source: BoxError,
    },
    /// A snapshot ends within a record.
    #[error("the snapshot ends within a record")]
    Truncated,
    /// A snapshot is not as long as its header says.
    #[error("the snapshot has {found} records, its header says {expected}")]
    Records {
        /// What the header says.
        expected: u64,
        /// What is there.
        found: u64,
    },
}

impl CodecError {
    pub(crate) fn value(what: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Value { what, source: source.into() }
    }
}

/// Encodes the log for the storage.
#[derive(Debug)]
pub(crate) struct Codec;

impl<R: Runtime> EntryCodec<TypeConfig<R>> for Codec {
    fn encode_entry(entry: &Entry) -> Vec<u8> {
        entry_to_pb(entry).encode_to_vec()
    }

    fn decode_entry(bytes: &[u8]) -> Result<Entry, BoxError> {
        Ok(entry_from_pb(pb::Entry::decode(bytes)?)?)
    }

    fn encode_vote(vote: &Vote) -> Vec<u8> {
        vote_to_pb(vote).encode_to_vec()
    }

    fn decode_vote(bytes: &[u8]) -> Result<Vote, BoxError> {
        Ok(vote_from_pb(&pb::RaftVote::decode(bytes)?))
    }

    fn encode_log_id(id: &LogId) -> Vec<u8> {
        log_id_to_pb(id).encode_to_vec()
    }

    fn decode_log_id(bytes: &[u8]) -> Result<LogId, BoxError> {
        Ok(log_id_from_pb(&pb::LogId::decode(bytes)?))
    }
}

/// Encodes a row of the state.
pub(crate) fn row_to_stored(record: &quorumfence_machine::Record) -> quorumfence_storage::Record {
    let (kind, key) = convert::record_key_bytes(&record.key());
    quorumfence_storage::Record { kind, key, value: convert::encode_record(record) }
}

/// Decodes a row of the state from its value alone.
pub(crate) fn row_from_value(value: &[u8]) -> Result<quorumfence_machine::Record, CodecError> {
    convert::decode_record(value).map_err(|error| CodecError::value("a row of the state", error))
}

/// Returns the field, or says which one is missing.
pub(crate) fn required<T>(value: Option<T>, message: &'static str, field: &'static str) -> Result<T, CodecError> {
    value.ok_or(CodecError::Missing { message, field })
}

/// The contract's node stays 0: with one leader per term the term names the leader.
pub(crate) fn log_id_to_pb(id: &LogId) -> pb::LogId {
    pb::LogId { term: *id.leader_id, node_id: 0, index: id.index }
}

pub(crate) fn log_id_from_pb(id: &pb::LogId) -> LogId {
    let leader = leader_id_std::LeaderId::new(id.term, id.node_id).to_committed();
    LogId { leader_id: leader, index: id.index }
}

pub(crate) fn vote_to_pb(vote: &Vote) -> pb::RaftVote {
    pb::RaftVote { term: vote.leader_id.term, node_id: vote.leader_id.voted_for, committed: vote.committed }
}

pub(crate) fn vote_from_pb(vote: &pb::RaftVote) -> Vote {
    Vote { leader_id: leader_id_std::LeaderId::new(vote.term, vote.node_id), committed: vote.committed }
}

pub(crate) fn entry_to_pb(entry: &Entry) -> pb::Entry {
    let payload = match &entry.payload {
        EntryPayload::Blank => pb::entry::Payload::Blank(pb::Unit {}),
        EntryPayload::Normal(proposal) => pb::entry::Payload::Command(pb::Command::from(proposal.0.clone())),
        EntryPayload::Membership(membership) => pb::entry::Payload::Membership(membership_to_pb(membership)),
    };
    pb::Entry { format: ENTRY_FORMAT, id: Some(log_id_to_pb(&entry.log_id)), payload: Some(payload) }
}

pub(crate) fn entry_from_pb(entry: pb::Entry) -> Result<Entry, CodecError> {
    if entry.format != ENTRY_FORMAT {
        return Err(CodecError::Format { what: "a log entry", found: entry.format });
    }
    let log_id = log_id_from_pb(&required(entry.id, "Entry", "id")?);
    let payload: Payload = match required(entry.payload, "Entry", "payload")? {
        pb::entry::Payload::Blank(pb::Unit {}) => EntryPayload::Blank,
        pb::entry::Payload::Command(command) => {
            let command = Command::try_from(command).map_err(|error| CodecError::value("a command", error))?;
            EntryPayload::Normal(Proposal(command))
        }
        pb::entry::Payload::Membership(membership) => EntryPayload::Membership(membership_from_pb(membership)?),
    };
    Ok(Entry { log_id, payload })
}

pub(crate) fn membership_to_pb(membership: &Membership) -> pb::Membership {
    let config = |voters: &BTreeSet<u64>| pb::membership::Config { voters: voters.iter().copied().collect() };
    pb::Membership {
        configs: membership.get_joint_config().iter().map(config).collect(),
        nodes: membership.nodes().map(|(id, node)| pb::Peer { id: *id, address: node.addr.clone() }).collect(),
    }
}

pub(crate) fn membership_from_pb(membership: pb::Membership) -> Result<Membership, CodecError> {
    let configs = membership.configs.into_iter().map(|config| config.voters.into_iter().collect()).collect();
    let nodes: BTreeMap<u64, BasicNode> =
        membership.nodes.into_iter().map(|peer| (peer.id, BasicNode { addr: peer.address })).collect();
    Membership::new(configs, nodes).map_err(|error| CodecError::value("a membership", error))
}

pub(crate) fn stored_membership_to_pb(stored: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to_pb),
        membership: Some(membership_to_pb(stored.membership())),
    }
}

pub(crate) fn stored_membership_from_pb(stored: pb::StoredMembership) -> Result<StoredMembership, CodecError> {
    let membership = required(stored.membership, "StoredMembership", "membership")?;
    Ok(StoredMembership::new(stored.log_id.as_ref().map(log_id_from_pb), membership_from_pb(membership)?))
}

pub(crate) fn peer_to_pb(peer: &Peer) -> pb::Peer {
    pb::Peer { id: peer.id.0, address: peer.address.clone() }
}

pub(crate) fn peer_from_pb(peer: pb::Peer) -> Peer {
    Peer { id: quorumfence_machine::ControllerId(peer.id), address: peer.address }
}
