//! Bytes that were written once are read for ever.
//!
//! Each file of `tests/frozen/v1` holds one kind of entry or record: the bytes of each of its samples in hexadecimal,
//! with an empty line between samples. What was released never changes: a log on somebody's disk looks so.
//! `QUORUMFENCE_BLESS=1` writes the files; reading the difference is part of the review.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use prost::Message;
use quorumfence_machine::Command;
use quorumfence_proto::convert::{decode_record, encode_record};
use quorumfence_proto::{ENTRY_FORMAT, SNAPSHOT_FORMAT, pb};

use crate::samples;

const BYTES_PER_LINE: usize = 32;

/// A file's name and the bytes of its samples, in order.
type Files = BTreeMap<String, Vec<Vec<u8>>>;

fn log_id(index: u64) -> pb::LogId {
    pb::LogId { term: 7, node_id: 2, index }
}

fn entry(index: u64, payload: pb::entry::Payload) -> pb::Entry {
    pb::Entry { format: ENTRY_FORMAT, id: Some(log_id(index)), payload: Some(payload) }
}

/// A joint membership with a learner.
fn membership() -> pb::Membership {
    let peer = |id: u64| pb::Peer { id, address: format!("192.0.2.{id}:7654") };
    pb::Membership {
        configs: vec![
            pb::membership::Config { voters: vec![1, 2, 3] },
            pb::membership::Config { voters: vec![2, 3, 4] },
        ],
        nodes: [1, 2, 3, 4, 5].map(peer).into(),
    }
}

fn snapshot_header() -> pb::SnapshotHeader {
    pb::SnapshotHeader {
        format: SNAPSHOT_FORMAT,
        last_log_id: Some(log_id(4711)),
        membership: Some(pb::StoredMembership { log_id: Some(log_id(2)), membership: Some(membership()) }),
        records: 12,
    }
}

/// Every entry without a command, the snapshot header, and one file for each kind of command and record.
fn current() -> Files {
    use pb::entry::Payload;
    let mut files = Files::from([
        ("entry_blank".to_string(), vec![entry(1, Payload::Blank(pb::Unit {})).encode_to_vec()]),
        ("entry_membership".to_string(), vec![entry(2, Payload::Membership(membership())).encode_to_vec()]),
        ("snapshot_header".to_string(), vec![snapshot_header().encode_to_vec()]),
    ]);
    for ((_, command), index) in samples::commands().into_iter().zip(3..) {
        let file = format!("entry_{}", samples::change_name(&command.change));
        let bytes = entry(index, Payload::Command(command.into())).encode_to_vec();
        files.entry(file).or_default().push(bytes);
    }
    for (_, record) in samples::records() {
        let file = format!("record_{}", samples::record_name(&record));
        files.entry(file).or_default().push(encode_record(&record));
    }
    files
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/frozen/v1")
}

fn hex(samples: &[Vec<u8>]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    let sample = |bytes: &Vec<u8>| bytes.chunks(BYTES_PER_LINE).map(line).collect::<String>();
    samples.iter().map(sample).collect::<Vec<_>>().join("\n")
}

fn unhex(text: &str) -> Vec<Vec<u8>> {
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two digits");
    let sample = |text: &str| {
        let digits: Vec<char> = text.chars().filter(|character| !character.is_whitespace()).collect();
        digits.chunks(2).map(byte).collect()
    };
    text.split("\n\n").map(sample).collect()
}

fn frozen() -> Files {
    let files = std::fs::read_dir(directory()).expect("the frozen files");
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.expect("a frozen file").path();
        let name = path.file_stem().expect("a file").to_string_lossy().into_owned();
        (name, unhex(&std::fs::read_to_string(path).expect("a frozen file")))
    };
    files.map(read).collect()
}

#[test]
fn bytes_of_every_entry_record_and_header_are_the_frozen_ones() {
    let current = current();
    if std::env::var_os("QUORUMFENCE_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(directory()).expect("a writable directory");
        for (name, samples) in &current {
            std::fs::write(directory().join(format!("{name}.hex")), hex(samples)).expect("a writable directory");
        }
    }
    let frozen = frozen();
    assert_eq!(
        frozen.keys().collect::<Vec<_>>(),
        current.keys().collect::<Vec<_>>(),
        "a kind came or went; QUORUMFENCE_BLESS=1 writes the missing files"
    );
    for (name, samples) in current {
        assert_eq!(hex(&samples), hex(&frozen[&name]), "{name}: old logs and snapshots would be read differently");
    }
}

#[test]
fn frozen_entries_are_read_as_the_commands_that_they_were() {
    let frozen = frozen();
    let mut read: BTreeMap<u64, Command> = BTreeMap::new();
    for name in samples::CHANGE_NAMES {
        for bytes in &frozen[&format!("entry_{name}")] {
            let entry = pb::Entry::decode(bytes.as_slice()).expect("a frozen entry");
            let Some(pb::entry::Payload::Command(command)) = entry.payload else { panic!("{name} has no command") };
            assert_eq!(entry.format, ENTRY_FORMAT);
            read.insert(entry.id.expect("a log id").index, command.try_into().expect("a frozen command"));
        }
    }
    let written: BTreeMap<u64, Command> = (3..).zip(samples::commands().into_iter().map(|(_, it)| it)).collect();
    assert_eq!(read, written);
}

#[test]
fn frozen_records_are_read_as_the_records_that_they_were() {
    let frozen = frozen();
    for name in samples::RECORD_NAMES {
        let read = frozen[&format!("record_{name}")].iter().map(|bytes| decode_record(bytes).expect("a frozen record"));
        let all = samples::records().into_iter().map(|(_, record)| record);
        let written: Vec<_> = all.filter(|record| samples::record_name(record) == *name).collect();
        assert_eq!(read.collect::<Vec<_>>(), written);
    }
}

#[test]
fn frozen_entries_without_a_command_and_header_are_read_unchanged() {
    let frozen = frozen();
    let blank = entry(1, pb::entry::Payload::Blank(pb::Unit {}));
    assert_eq!(pb::Entry::decode(frozen["entry_blank"][0].as_slice()), Ok(blank));
    let joint = entry(2, pb::entry::Payload::Membership(membership()));
    assert_eq!(pb::Entry::decode(frozen["entry_membership"][0].as_slice()), Ok(joint));
    assert_eq!(pb::SnapshotHeader::decode(frozen["snapshot_header"][0].as_slice()), Ok(snapshot_header()));
}
