use std::collections::{BTreeMap, BTreeSet};

use openraft_rt_tokio::TokioRuntime;
use prost::Message;
use quorumfence_machine::{Actor, Change, ClusterTime, Record, RequestId, Segment, State, WallMillis};

use super::*;
use crate::types::SnapshotMeta;

type Own = TypeConfig<TokioRuntime>;

fn log_id(term: u64, index: u64) -> LogId {
    log_id_from_pb(&pb::LogId { term, node_id: 0, index })
}

fn command() -> Command {
    Command {
        by: Actor::Operator("alice".into()),
        wall: WallMillis(1_700_000_000_000),
        clock: ClusterTime(42),
        request: Some(RequestId([9; 16])),
        change: Change::Arm { reason: "ready".into() },
    }
}

fn joint() -> Membership {
    let nodes: BTreeMap<u64, BasicNode> = (1..=4).map(|id| (id, BasicNode { addr: format!("h{id}:7000") })).collect();
    Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1, 2, 3])], nodes).unwrap()
}

#[test]
fn every_kind_of_entry_comes_back_as_it_was() {
    let payloads = [EntryPayload::Blank, EntryPayload::Normal(Proposal(command())), EntryPayload::Membership(joint())];
    for payload in payloads {
        let entry = Entry { log_id: log_id(3, 17), payload };
        let bytes = <Codec as EntryCodec<Own>>::encode_entry(&entry);
        assert_eq!(<Codec as EntryCodec<Own>>::decode_entry(&bytes).unwrap(), entry);
    }
}

#[test]
fn votes_and_log_ids_come_back_as_they_were() {
    for committed in [false, true] {
        let vote = vote_from_pb(&pb::RaftVote { term: 5, node_id: 2, committed });
        let bytes = <Codec as EntryCodec<Own>>::encode_vote(&vote);
        assert_eq!(<Codec as EntryCodec<Own>>::decode_vote(&bytes).unwrap(), vote);
    }
    let bytes = <Codec as EntryCodec<Own>>::encode_log_id(&log_id(4, 9));
    assert_eq!(<Codec as EntryCodec<Own>>::decode_log_id(&bytes).unwrap(), log_id(4, 9));
}

#[test]
fn the_bytes_of_a_blank_entry_are_frozen() {
    let entry = Entry { log_id: log_id(3, 17), payload: EntryPayload::Blank };
    let bytes = <Codec as EntryCodec<Own>>::encode_entry(&entry);
    assert_eq!(bytes, [0x08, 0x01, 0x12, 0x04, 0x08, 0x03, 0x18, 0x11, 0x1a, 0x00]);
}

#[test]
fn an_entry_of_an_unknown_format_or_without_payload_is_refused() {
    let id = Some(pb::LogId { term: 1, node_id: 0, index: 1 });
    let newer = pb::Entry { format: 2, id, payload: Some(pb::entry::Payload::Blank(pb::Unit {})) };
    assert!(matches!(entry_from_pb(newer), Err(CodecError::Format { found: 2, .. })));
    let empty = pb::Entry { format: 1, id, payload: None };
    assert!(matches!(entry_from_pb(empty), Err(CodecError::Missing { field: "payload", .. })));
}

#[test]
fn a_membership_whose_voter_has_no_address_is_refused() {
    let mut message = membership_to_pb(&joint());
    message.nodes.remove(0);
    assert!(matches!(membership_from_pb(message), Err(CodecError::Value { .. })));
}

fn rows() -> Vec<Record> {
    let names = ["a", "b", "c"];
    names.map(|name| Record::Segment(Segment { id: name.parse().unwrap(), ..Segment::default() })).into()
}

fn meta() -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(2, 30)),
        last_membership: StoredMembership::new(Some(log_id(1, 4)), joint()),
    }
}

#[test]
fn a_snapshot_comes_back_as_it_was() {
    let data = snapshot::data(&snapshot::stored(&rows()));
    assert_eq!(snapshot::count(&data).unwrap(), 3);
    let header = pb::SnapshotHeader::decode(snapshot::header(&meta(), 3).encode_to_vec().as_slice()).unwrap();
    assert_eq!(snapshot::read(header, &data).unwrap(), (meta(), rows()));
    assert_eq!(State::from_records(rows()).digest(), State::from_records(snapshot::rows(&data).unwrap()).digest());
}

#[test]
fn a_snapshot_that_was_cut_is_refused_wherever_it_was_cut() {
    let data = snapshot::data(&snapshot::stored(&rows()));
    for length in 0..data.len() {
        let outcome = snapshot::read(snapshot::header(&meta(), 3), &data[..length]);
        assert!(outcome.is_err(), "{length} of {} bytes were taken for the whole", data.len());
    }
}

#[test]
fn rows_keep_their_key_and_value() {
    let row = Record::Segment(Segment { id: "rack1".parse().unwrap(), ..Segment::default() });
    let stored = row_to_stored(&row);
    assert_eq!(stored.key, b"rack1");
    assert_eq!(row_from_value(&stored.value).unwrap(), row);
}
