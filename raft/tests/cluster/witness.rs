use std::sync::Mutex;

use quorumfence_machine::{LogIndex, State};
use quorumfence_raft::{Passage, Said, Witness};

use crate::group::{Group, create};

/// What one node's witness heard.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<Vec<(LogIndex, String)>>);

impl Heard {
    fn note(&self, at: LogIndex, words: String) {
        self.0.lock().unwrap().push((at, words));
    }
}

impl Witness for Heard {
    fn applied(&self, passage: &Passage<'_>) {
        let said = match passage.entry {
            Said::Blank => "blank".into(),
            Said::Command(command) => format!("{:?}", command.change),
            Said::Voters(voters) => format!("voters {voters:?}"),
        };
        let Passage { term, events, state, .. } = passage;
        self.note(passage.at, format!("term {term}: {said}, {events:?}, {}", state.digest()));
    }

    fn installed(&self, at: LogIndex, state: &State) {
        self.note(at, format!("installed {}", state.digest()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_hears_every_entry_once_in_order_and_with_its_events() {
    let group = Group::found(3).await;
    let leader = group.agreed_leader().await;
    let mut last = LogIndex(0);
    for name in ["s1", "s2", "s3"] {
        last = create(group.replica(leader), name).await;
    }
    group.digest_at(last).await;
    let heard = |id: u64| group.running[&id].heard.0.lock().unwrap().clone();
    let first = heard(1);
    let indexes: Vec<u64> = first.iter().map(|(at, _)| at.0).collect();
    assert_eq!(indexes, (indexes[0]..=last.0).collect::<Vec<_>>());
    assert!(first.last().unwrap().1.contains("SegmentCreated"), "{first:?}");
    for id in 2..=3 {
        assert_eq!(heard(id), first, "node {id}");
    }
}
