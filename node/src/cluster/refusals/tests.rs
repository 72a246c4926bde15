use std::fs::{OpenOptions, metadata, write};

use quorumfence_machine::{InstanceId, LogIndex, Refusal, Token};

use super::*;

const BOOT: BootId = BootId([1; 16]);
const NEXT_BOOT: BootId = BootId([2; 16]);

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("refusals");
    (folder, path)
}

fn refused(number: u64) -> Refused {
    let mut instance = [0; 16];
    instance[..8].copy_from_slice(&number.to_be_bytes());
    Refused { instance: InstanceId(instance), token: Token(LogIndex(number)), refusal: Refusal::NotAssigned }
}

fn open(path: &Path, boot: BootId) -> (Refusals, Vec<Refused>) {
    Refusals::open(path.into(), boot).expect("it can be read")
}

#[test]
fn the_last_list_of_this_boot_comes_back_and_no_other() {
    let (_folder, path) = place();
    let (mut refusals, known) = open(&path, BOOT);
    assert_eq!(known, [], "no file is no refusal");
    for count in 0..5 {
        let list: Vec<Refused> = (0..count).map(refused).collect();
        refusals.keep(&list).expect("it can be written");
        assert_eq!(open(&path, BOOT).1, list);
        assert_eq!(open(&path, NEXT_BOOT).1, []);
    }
    let (mut next, _) = open(&path, NEXT_BOOT);
    next.keep(&[refused(7)]).expect("it can be written");
    assert_eq!((open(&path, BOOT).1, open(&path, NEXT_BOOT).1), (vec![], vec![refused(7)]));
}

#[test]
fn the_file_has_its_whole_size_before_anything_is_refused() {
    let (_folder, path) = place();
    let (mut refusals, _) = open(&path, BOOT);
    refusals.keep(&[]).expect("it can be written");
    let size = || metadata(&path).expect("it is there").len();
    let at_first = size();
    assert_eq!(at_first, 2 * SLOT_BYTES as u64);
    for count in [1, 1000, 3000] {
        refusals.keep(&(0..count).map(refused).collect::<Vec<_>>()).expect("there is room");
        assert_eq!(size(), at_first);
    }
}

#[test]
fn more_than_there_is_room_for_is_not_written() {
    let (_folder, path) = place();
    let (mut refusals, _) = open(&path, BOOT);
    refusals.keep(&[refused(1)]).expect("it can be written");
    let flood: Vec<Refused> = (0..20_000).map(refused).collect();
    let error = refusals.keep(&flood).expect_err("it does not fit");
    assert!(matches!(error, Error::TooMany { count: 20_000, .. }), "{error}");
    assert_eq!(open(&path, BOOT).1, [refused(1)]);
}

#[test]
fn a_list_that_was_cut_leaves_the_one_before_it() {
    let (_folder, path) = place();
    let (mut refusals, _) = open(&path, BOOT);
    let spoil = |slot: u64| {
        let file = OpenOptions::new().write(true).open(&path).expect("it is there");
        file.write_all_at(b"cut", slot * SLOT_BYTES as u64 + 60).expect("it can be written");
    };
    refusals.keep(&[refused(1)]).expect("it can be written");
    spoil(1);
    assert_eq!(open(&path, BOOT).1, [], "the first list was cut, so nothing was answered");
    let (mut refusals, _) = open(&path, BOOT);
    refusals.keep(&[refused(1)]).expect("it can be written");
    refusals.keep(&[refused(1), refused(2)]).expect("it can be written");
    spoil(0);
    assert_eq!(open(&path, BOOT).1, [refused(1)]);
    spoil(1);
    let error = Refusals::open(path.clone(), BOOT).expect_err("nothing is whole");
    assert!(error.to_string().ends_with("reboot the host, move the file away, and start the agent again"), "{error}");
}

#[test]
fn what_cannot_be_read_is_not_taken_for_nothing() {
    let (folder, path) = place();
    write(&path, "").expect("it can be written");
    assert!(matches!(Refusals::open(path, BOOT), Err(Error::Damaged { .. })), "an empty file");
    let through_a_file = folder.path().join("refusals").join("refusals");
    assert!(matches!(Refusals::open(through_a_file, BOOT), Err(Error::Io { action: "open", .. })), "ENOTDIR");
    let directory = folder.path().to_path_buf();
    assert!(matches!(Refusals::open(directory, BOOT), Err(Error::Io { action: "read", .. })), "EISDIR");
}
