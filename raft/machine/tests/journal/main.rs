//! Journals: logs of real runs, applied entry by entry. A new version turns an old log into the same state (promise S8,
//! rule 48), and says the same words on the way.
//!
//! `NAME.log` is what the log of a run said, written by `quorumfence-chaos run --journal`, or by hand. It stays as it is.
//! `NAME.expect` is what the machine makes of it: the answer to each entry, its events, the rows that changed, the work
//! that is due, and what a leader would then decide. `QUORUMFENCE_BLESS=1` writes it anew; then it wants to be read.
#![expect(clippy::disallowed_methods, reason = "the journals are files, and only the machine itself may read none")]

mod entry;
mod kinds;
mod play;

use std::fs;
use std::path::{Path, PathBuf};

use kinds::Shown;
use play::{Block, play};

/// The variable that makes a play write what is expected anew.
const BLESS: &str = "QUORUMFENCE_BLESS";

fn journals() -> Vec<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journal/logs");
    let entries = fs::read_dir(&place).expect("the journals lie beside this file");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder can be listed").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

#[test]
fn every_journal_is_applied_as_it_always_was_and_together_they_show_every_kind_of_entry() {
    let mut shown = Shown::default();
    let mut differences = String::new();
    for path in journals() {
        let entries = entry::read(&fs::read_to_string(&path).expect("a journal can be read"));
        let blocks = play(&entries, &mut shown);
        let told: String = blocks.iter().map(|block| block.text.as_str()).collect();
        let expected = path.with_extension("expect");
        if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
            fs::write(&expected, &told).expect("a blessing can be written");
        }
        let expect = fs::read_to_string(&expected).unwrap_or_default();
        if let Some(difference) = difference(&expect, &blocks) {
            differences += &format!("{} is told otherwise:\n{difference}", expected.display());
        }
    }
    assert!(differences.is_empty(), "{differences}{BLESS}=1 writes them anew");
    assert_eq!(shown.missing(), Vec::<&str>::new(), "no journal shows these");
}

/// Returns the first entry that is told otherwise, with the rows that it changed.
fn difference(expect: &str, blocks: &[Block]) -> Option<String> {
    let mut rest = expect;
    for Block { text, rows } in blocks {
        match rest.strip_prefix(text.as_str()) {
            Some(after) => rest = after,
            None => {
                let end = rest.match_indices('\n').find(|(at, _)| !rest[at + 1..].starts_with(' '));
                let expected = &rest[..end.map_or(rest.len(), |(at, _)| at + 1)];
                let rows: String = rows.iter().map(|(_, row)| format!("{row:?}\n")).collect();
                return Some(format!("expected\n{expected}and it is\n{text}with\n{rows}"));
            }
        }
    }
    (!rest.is_empty()).then(|| format!("expected\n{rest}and there is no more\n"))
}

#[test]
fn a_word_that_changed_is_found() {
    let blocks = ["#1 one\n    cluster = 1\n", "#2 two\n    cluster = 2\n"]
        .map(|text| Block { text: text.into(), rows: Vec::new() });
    let told: String = blocks.iter().map(|block| block.text.as_str()).collect();
    assert_eq!(difference(&told, &blocks), None);
    let changed = told.replace("= 1", "= 3");
    let words = "expected\n#1 one\n    cluster = 3\nand it is\n#1 one\n    cluster = 1\nwith\n";
    assert_eq!(difference(&changed, &blocks).as_deref(), Some(words));
    let longer = format!("{told}#3 three\n");
    assert_eq!(difference(&longer, &blocks).as_deref(), Some("expected\n#3 three\nand there is no more\n"));
    assert!(difference("", &blocks).is_some(), "nothing was ever expected");
}
