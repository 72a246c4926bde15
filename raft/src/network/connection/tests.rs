use openraft::EntryPayload;
use openraft_rt_tokio::TokioRuntime;
use quorumfence_machine::{Actor, Change, ClusterTime, Command, WallMillis};

use super::*;
use crate::codec::{log_id_from_pb, vote_from_pb};
use crate::types::{Entry, Proposal};

fn request(sizes: &[usize]) -> AppendEntriesRequest<TypeConfig<TokioRuntime>> {
    let entry = |(number, size): (usize, &usize)| {
        let change = Change::Arm { reason: "x".repeat(*size) };
        let by = Actor::Operator("tester".into());
        let command = Command { by, wall: WallMillis(0), clock: ClusterTime(0), request: None, change };
        Entry { log_id: id(number as u64 + 1), payload: EntryPayload::Normal(Proposal(command)) }
    };
    AppendEntriesRequest {
        vote: vote_from_pb(&pb::RaftVote { term: 1, node_id: 1, committed: true }),
        prev_log_id: Some(id(0)),
        entries: sizes.iter().enumerate().map(entry).collect(),
        leader_commit: None,
    }
}

fn id(index: u64) -> LogId {
    log_id_from_pb(&pb::LogId { term: 1, node_id: 0, index })
}

#[test]
fn what_fits_into_one_message_is_sent_whole() {
    for sizes in [&[][..], &[10, 10, 10]] {
        let (message, cut_after) = fit(&request(sizes));
        assert_eq!((message.entries.len(), cut_after), (sizes.len(), None));
    }
}

#[test]
fn what_does_not_fit_is_cut_and_the_last_sent_entry_is_named() {
    let mib = 1 << 20;
    let (message, cut_after) = fit(&request(&[6 * mib, 6 * mib, 6 * mib]));
    assert_eq!((message.entries.len(), cut_after), (2, Some(id(2))));
    assert!(message.encoded_len() <= RAFT_MESSAGE_BYTES_MAX);
}

#[test]
fn the_first_entry_is_always_sent() {
    let (message, cut_after) = fit(&request(&[RAFT_MESSAGE_BYTES_MAX, 1]));
    assert_eq!((message.entries.len(), cut_after), (1, Some(id(1))));
}
