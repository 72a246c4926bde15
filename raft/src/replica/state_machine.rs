//! The machine's state under openraft: applied in memory, written in one synced batch, answered afterwards.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, RwLock};

use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use prost::Message;
use quorumfence_machine::{Applied, ControllerId, LogIndex, Reply, State};
use quorumfence_proto::pb;
use quorumfence_storage::{Change, Error, Loaded, Records, Snapshots};
use tokio::sync::watch;

use super::Members;
use crate::codec::{
    log_id_from_pb, log_id_to_pb, row_from_value, row_to_stored, snapshot, stored_membership_from_pb,
    stored_membership_to_pb,
};
use crate::types::{Answer, Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::{CodecError, Environment, OpenError, Passage, Point, Runtime, Said, Term, Witness};

/// Entries in one synced batch: after a long absence the memory must not hold all answers at once.
const BATCH_ENTRIES_MAX: usize = 1024;

/// What readers share with the state machine.
#[derive(Debug)]
pub(crate) struct Shared {
    state: RwLock<State>,
    applied: watch::Sender<LogIndex>,
    events: watch::Sender<u64>,
    members: watch::Sender<Members>,
}

impl Shared {
    pub(super) fn new(state: State, applied: LogIndex, members: Members) -> Self {
        let newest = newest_event(&state, 0);
        Self {
            state: RwLock::new(state),
            applied: watch::Sender::new(applied),
            events: watch::Sender::new(newest),
            members: watch::Sender::new(members),
        }
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().expect("a panic while applying ends the replica"))
    }

    pub(crate) fn applied(&self) -> watch::Receiver<LogIndex> {
        self.applied.subscribe()
    }

    pub(crate) fn events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    pub(crate) fn members(&self) -> Members {
        self.members.borrow().clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().expect("a panic while applying ends the replica"))
    }

    fn publish(&self, applied: LogIndex) {
        let known = *self.events.borrow();
        let newest = self.read(|state| newest_event(state, known));
        self.applied.send_replace(applied);
        if newest > known {
            self.events.send_replace(newest);
        }
    }
}

fn newest_event(state: &State, known: u64) -> u64 {
    state.events_from(known).last().map_or(known, |event| event.sequence)
}

/// The state machine that openraft drives.
pub(crate) struct StateMachine<E: Environment> {
    shared: Arc<Shared>,
    records: Records<E::Kv>,
    snapshots: Snapshots<E::Files>,
    applied: Option<LogId>,
    membership: StoredMembership,
    witness: Option<Arc<dyn Witness>>,
}

impl<E: Environment> StateMachine<E> {
    /// Loads the state; repeats an installation that a crash cut.
    pub(crate) async fn open(
        records: Records<E::Kv>,
        snapshots: Snapshots<E::Files>,
        witness: Option<Arc<dyn Witness>>,
    ) -> Result<Self, OpenError> {
        let loaded = match records.load() {
            Err(Error::InstallInterrupted) => {
                let snapshot = current(&snapshots)?.ok_or(OpenError::NoSnapshot)?;
                let rows = snapshot::rows(&snapshot.snapshot)?;
                install(&records, &snapshot.meta, &rows).await?;
                records.load()?
            }
            loaded => loaded?,
        };
        let (applied, membership) = position(&loaded)?;
        let rows = loaded.records.iter().map(|record| row_from_value(&record.value)).collect::<Result<Vec<_>, _>>()?;
        let members = Members::of(&membership);
        let shared = Arc::new(Shared::new(State::from_records(rows), index(applied.as_ref()), members));
        Ok(Self { shared, records, snapshots, applied, membership, witness })
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    fn apply_entry(&mut self, entry: &Entry) -> Answer {
        let at = LogIndex(entry.log_id.index);
        self.applied = Some(entry.log_id);
        let mut voters = BTreeSet::new();
        let Applied { reply, events } = match &entry.payload {
            EntryPayload::Blank => Applied { reply: Ok(Reply::Done), events: Vec::new() },
            EntryPayload::Normal(proposal) => self.shared.change(|state| state.apply(at, &proposal.0)),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                voters = membership.voter_ids().map(ControllerId).collect();
                let events = self.shared.change(|state| state.apply_voters(at, &voters));
                Applied { reply: Ok(Reply::Done), events }
            }
        };
        if let Some(witness) = &self.witness {
            let said = match &entry.payload {
                EntryPayload::Blank => Said::Blank,
                EntryPayload::Normal(proposal) => Said::Command(&proposal.0),
                EntryPayload::Membership(_) => Said::Voters(&voters),
            };
            let term = Term(*entry.log_id.leader_id);
            self.shared.read(|state| {
                witness.applied(&Passage { at, term, entry: said, events: &events, state });
            });
        }
        Answer { at, reply }
    }

    /// Writes what changed since the last call, with the position that it belongs to.
    async fn persist(&mut self, members_changed: bool) -> Result<(), Error> {
        let Some(applied) = &self.applied else { return Ok(()) };
        let mut change = Change {
            puts: Vec::new(),
            deletes: Vec::new(),
            applied: log_id_to_pb(applied).encode_to_vec(),
            membership: members_changed.then(|| stored_membership_to_pb(&self.membership).encode_to_vec()),
        };
        for (key, row) in self.shared.change(State::take_changes) {
            match row {
                Some(row) => change.puts.push(row_to_stored(&row)),
                None => change.deletes.push(quorumfence_proto::convert::record_key_bytes(&key)),
            }
        }
        self.records.commit(change).await?;
        if members_changed {
            self.shared.members.send_replace(Members::of(&self.membership));
        }
        self.shared.publish(index(Some(applied)));
        Ok(())
    }
}

type Config<E> = TypeConfig<<E as Environment>::Runtime>;

impl<E: Environment> RaftStateMachine<Config<E>> for StateMachine<E> {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = SnapshotBuilder<E>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Config<E>>, io::Error>> + Unpin + OptionalSend,
    {
        E::pass(Point::ApplyBeforeEntries).await;
        loop {
            let mut answers = Vec::new();
            let mut taken = 0;
            let mut members_changed = false;
            while taken < BATCH_ENTRIES_MAX
                && let Some((entry, responder)) = entries.try_next().await?
            {
                taken += 1;
                members_changed |= matches!(entry.payload, EntryPayload::Membership(_));
                let answer = self.apply_entry(&entry);
                if let Some(responder) = responder {
                    answers.push((responder, answer));
                }
            }
            if taken == 0 {
                return Ok(());
            }
            E::pass(Point::ApplyBeforePersist).await;
            self.persist(members_changed).await?;
            E::pass(Point::ApplyBeforeAnswers).await;
            for (responder, answer) in answers {
                responder.send(answer);
            }
        }
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<E> {
        let records = self.records.clone();
        let view = match E::Runtime::spawn_blocking(move || records.snapshot_view()).await {
            Ok(view) => view.map_err(io::Error::from),
            Err(error) => Err(error),
        };
        SnapshotBuilder { view: Some(view), snapshots: self.snapshots.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Vec<u8>) -> Result<(), io::Error> {
        let rows = snapshot::rows(&data).map_err(io::Error::other)?;
        let header = snapshot::header(meta, rows.len() as u64).encode_to_vec();
        // The file first: a crash while the records are replaced leaves it to install from again.
        self.snapshots.publish(index(meta.last_log_id.as_ref()).0, &header, &data).await?;
        E::pass(Point::InstallBeforeRecords).await;
        install(&self.records, meta, &rows).await?;
        E::pass(Point::InstallBeforeState).await;
        self.shared.change(|state| *state = State::from_records(rows));
        if let Some(witness) = &self.witness {
            self.shared.read(|state| witness.installed(index(meta.last_log_id.as_ref()), state));
        }
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.shared.members.send_replace(Members::of(&self.membership));
        self.shared.publish(index(self.applied.as_ref()));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let snapshots = self.snapshots.clone();
        E::Runtime::spawn_blocking(move || current(&snapshots)).await?.map_err(io::Error::other)
    }
}

/// Writes one snapshot of what the database held at one moment.
pub(crate) struct SnapshotBuilder<E: Environment> {
    view: Option<Result<Loaded, io::Error>>,
    snapshots: Snapshots<E::Files>,
}

impl<E: Environment> RaftSnapshotBuilder<Config<E>> for SnapshotBuilder<E> {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        E::pass(Point::SnapshotBeforePublish).await;
        let view = self.view.take().ok_or_else(|| io::Error::other("a builder builds one snapshot"))??;
        let (last_log_id, last_membership) = position(&view).map_err(io::Error::other)?;
        let meta = SnapshotMeta { last_log_id, last_membership };
        let data = snapshot::data(&view.records);
        let header = snapshot::header(&meta, view.records.len() as u64).encode_to_vec();
        self.snapshots.publish(index(meta.last_log_id.as_ref()).0, &header, &data).await?;
        Ok(Snapshot { meta, snapshot: data })
    }
}

async fn install<K: quorumfence_storage::Kv>(
    records: &Records<K>,
    meta: &SnapshotMeta,
    rows: &[quorumfence_machine::Record],
) -> Result<(), Error> {
    let applied = meta.last_log_id.as_ref().map(|id| log_id_to_pb(id).encode_to_vec());
    let membership = stored_membership_to_pb(&meta.last_membership).encode_to_vec();
    records.install(snapshot::stored(rows), applied, membership).await
}

fn current<F: quorumfence_storage::SnapshotFiles>(snapshots: &Snapshots<F>) -> Result<Option<Snapshot>, OpenError> {
    let found = snapshots.current()?;
    for skipped in found.skipped {
        tracing::warn!(name = skipped.name, reason = skipped.reason, "a snapshot is damaged and is not used");
    }
    let Some(snapshot) = found.snapshot else { return Ok(None) };
    let header = pb::SnapshotHeader::decode(snapshot.meta.as_slice()).map_err(CodecError::from)?;
    Ok(Some(Snapshot { meta: snapshot::meta(header)?, snapshot: snapshot.data }))
}

fn position(loaded: &Loaded) -> Result<(Option<LogId>, StoredMembership), CodecError> {
    let applied = match &loaded.applied {
        Some(bytes) => Some(log_id_from_pb(&pb::LogId::decode(bytes.as_slice())?)),
        None => None,
    };
    let membership = match &loaded.membership {
        Some(bytes) => stored_membership_from_pb(pb::StoredMembership::decode(bytes.as_slice())?)?,
        None => StoredMembership::default(),
    };
    Ok((applied, membership))
}

fn index(id: Option<&LogId>) -> LogIndex {
    LogIndex(id.map_or(0, |id| id.index))
}
