//! Snapshots: a header, and the rows as length-delimited records.

use quorumfence_machine::Record;
use quorumfence_proto::{SNAPSHOT_FORMAT, pb};
use quorumfence_storage as storage;

use super::{
    CodecError, log_id_from_pb, log_id_to_pb, required, row_from_value, row_to_stored, stored_membership_from_pb,
    stored_membership_to_pb,
};
use crate::types::SnapshotMeta;

/// Returns the header of a snapshot with that many rows.
pub(crate) fn header(meta: &SnapshotMeta, records: u64) -> pb::SnapshotHeader {
    pb::SnapshotHeader {
        format: SNAPSHOT_FORMAT,
        last_log_id: meta.last_log_id.as_ref().map(log_id_to_pb),
        membership: Some(stored_membership_to_pb(&meta.last_membership)),
        records,
    }
}

/// Returns what the header says about the snapshot.
pub(crate) fn meta(header: pb::SnapshotHeader) -> Result<SnapshotMeta, CodecError> {
    if header.format != SNAPSHOT_FORMAT {
        return Err(CodecError::Format { what: "a snapshot", found: header.format });
    }
    let membership = required(header.membership, "SnapshotHeader", "membership")?;
    Ok(SnapshotMeta {
        last_log_id: header.last_log_id.as_ref().map(log_id_from_pb),
        last_membership: stored_membership_from_pb(membership)?,
    })
}

/// Joins the values of stored rows into the data of a snapshot.
pub(crate) fn data(records: &[storage::Record]) -> Vec<u8> {
    let mut data = Vec::with_capacity(records.iter().map(|record| record.value.len() + 5).sum());
    for record in records {
        prost::encode_length_delimiter(record.value.len(), &mut data).expect("a vector grows as needed");
        data.extend_from_slice(&record.value);
    }
    data
}

/// Splits the data of a snapshot into rows.
pub(crate) fn rows(data: &[u8]) -> Result<Vec<Record>, CodecError> {
    values(data).map(|value| row_from_value(value?)).collect()
}

/// Returns how many rows the data has, without looking into them.
pub(crate) fn count(data: &[u8]) -> Result<u64, CodecError> {
    values(data).try_fold(0, |count, value| value.map(|_| count + 1))
}

fn values(mut data: &[u8]) -> impl Iterator<Item = Result<&[u8], CodecError>> {
    std::iter::from_fn(move || {
        if data.is_empty() {
            return None;
        }
        let value = prost::decode_length_delimiter(&mut data)
            .map_err(CodecError::from)
            .and_then(|length| data.split_at_checked(length).ok_or(CodecError::Truncated));
        match value {
            Ok((value, rest)) => {
                data = rest;
                Some(Ok(value))
            }
            Err(error) => {
                data = &[];
                Some(Err(error))
            }
        }
    })
}

/// Reads a whole snapshot, and refuses one that is shorter or longer than its header says.
pub(crate) fn read(header: pb::SnapshotHeader, data: &[u8]) -> Result<(SnapshotMeta, Vec<Record>), CodecError> {
    let expected = header.records;
    let meta = meta(header)?;
    let rows = rows(data)?;
    let found = rows.len() as u64;
    if found != expected {
        return Err(CodecError::Records { expected, found });
    }
    Ok((meta, rows))
}

/// Encodes rows for the storage.
pub(crate) fn stored(rows: &[Record]) -> Vec<storage::Record> {
    rows.iter().map(row_to_stored).collect()
}
