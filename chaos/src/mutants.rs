//! Planted bugs: what is known of each before it is tried, and the table of what convicted it.
//!
//! A mutant is a patch with a head:
//!
//! ```text
//! # reason: a disarmed cluster fences nobody
//! # promise: S5
//! diff --git ...
//! ```
//!
//! All patches apply one after the other, in the order of their names, so that one build holds every bug and a variable
//! says which one is awake. `base.patch` is no mutant: it brings the switch.
//!
//! A bug that shows only in a world which the swarm never draws, such as a clock at half its rate, has a case of its own
//! beside its patch, of the same name.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use thiserror::Error;

/// The variable that wakes one bug.
pub const VARIABLE: &str = "QUORUMFENCE_PLANTED";

/// The patch that brings the switch.
const BASE: &str = "base";

/// Where the table begins and ends in `chaos/README.md`.
const BEGIN: &str = "<!-- mutants -->\n";
const END: &str = "<!-- end of mutants -->\n";

/// One planted bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutant {
    /// Its name: that of its patch.
    pub name: String,
    /// Why it is a bug, in one line.
    pub reason: String,
    /// The promises that may convict it; one of them is expected to.
    pub promises: Vec<String>,
    /// The case that it is tried on, instead of seeds.
    pub case: Option<PathBuf>,
}

/// What a campaign found out about one bug.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conviction {
    /// The bug.
    pub name: String,
    /// The promise that it broke.
    pub promise: String,
    /// Seeds until then.
    pub seeds: u64,
    /// Time of one core until then.
    pub cpu_ms: u64,
    /// What the court said.
    pub says: String,
}

/// Why mutants cannot be read or told.
#[derive(Debug, Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A patch lacks a line of its head.
    #[error("{path} has no line '# {line}: ...'")]
    Headless {
        /// Which.
        path: PathBuf,
        /// The missing line.
        line: &'static str,
    },
    /// The README has no place for the table.
    #[error("the README has no '<!-- mutants -->' before an '<!-- end of mutants -->'")]
    NoPlace,
}

/// Returns every patch of a directory in the order in which they apply.
pub fn patches(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Unreadable { path: directory.into(), source };
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(unreadable)?;
    let is_patch = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "patch");
    let mut patches: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(is_patch).collect();
    patches.sort();
    Ok(patches)
}

/// Returns the mutants of a directory, by name.
pub fn read(directory: &Path) -> Result<Vec<Mutant>, Error> {
    let mut mutants = Vec::new();
    for path in patches(directory)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name == BASE {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|source| Error::Unreadable { path: path.clone(), source })?;
        let line = |line: &'static str| {
            let head = text.lines().take_while(|text| text.starts_with("# "));
            let found = head.filter_map(|text| text.strip_prefix("# ")?.strip_prefix(line)?.strip_prefix(": ")).next();
            found.filter(|text| !text.trim().is_empty()).ok_or_else(|| Error::Headless { path: path.clone(), line })
        };
        let reason = line("reason")?.into();
        let promises = line("promise")?.split_whitespace().map(String::from).collect();
        let case = Some(path.with_extension("json")).filter(|case| case.is_file());
        mutants.push(Mutant { name, reason, promises, case });
    }
    Ok(mutants)
}

/// Returns the table of what convicted each bug, by name; a bug without a conviction says so.
pub fn table(mutants: &[Mutant], convictions: &[Conviction]) -> String {
    let mut table = String::from("| bug | why it is one | promise | world | seeds | CPU s | what the court says |\n");
    table.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for Mutant { name, reason, case, .. } in mutants {
        let found = convictions.iter().find(|conviction| conviction.name == *name);
        let row = match found {
            None => writeln!(table, "| `{name}` | {reason} | not convicted | sim | | | |"),
            Some(Conviction { promise, seeds, cpu_ms, says, .. }) => {
                let (seconds, tenths) = (cpu_ms / 1000, cpu_ms % 1000 / 100);
                let seeds = if case.is_some() { "its case".into() } else { seeds.to_string() };
                writeln!(
                    table,
                    "| `{name}` | {reason} | {promise} | sim | {seeds} | {seconds}.{tenths} | {} |",
                    cell(says)
                )
            }
        };
        row.expect("a string takes everything");
    }
    table
}

/// Returns the README with another table in its place.
///
/// # Errors
/// It has no place for one.
pub fn with_table(readme: &str, table: &str) -> Result<String, Error> {
    let (before, rest) = readme.split_once(BEGIN).ok_or(Error::NoPlace)?;
    let (_, after) = rest.split_once(END).ok_or(Error::NoPlace)?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

/// Returns the names in the README's table, in its order.
///
/// # Errors
/// It has no table.
pub fn names_in(readme: &str) -> Result<Vec<String>, Error> {
    let (_, rest) = readme.split_once(BEGIN).ok_or(Error::NoPlace)?;
    let (table, _) = rest.split_once(END).ok_or(Error::NoPlace)?;
    let name = |row: &str| Some(row.strip_prefix("| `")?.split_once('`')?.0.to_string());
    Ok(table.lines().filter_map(name).collect())
}

/// Returns a sentence as a table takes it: short, on one line, without bars, and without the machine's own paths.
fn cell(says: &str) -> String {
    const LENGTH_MAX: usize = 160;
    let said = says.split_once(": ").map_or(says, |(_, said)| said);
    let plain: Vec<String> = said
        .split_whitespace()
        .map(|word| match word.rsplit_once('/') {
            Some((_, file)) if word.starts_with('/') => file.to_string(),
            Some(_) | None => word.replace('|', "/"),
        })
        .collect();
    let plain = plain.join(" ");
    match plain.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{} ...", plain[..end].trim_end()),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mutant(name: &str) -> Mutant {
        Mutant { name: name.into(), reason: "because".into(), promises: vec!["S5".into()], case: None }
    }

    #[test]
    fn a_table_names_every_bug_and_is_read_back() {
        let found = Conviction {
            name: "b".into(),
            promise: "S5".into(),
            seeds: 7,
            cpu_ms: 2345,
            says: "S5 is broken at 1.500 s: panicked at /a/b/c.rs:3 | it is\ndecided".into(),
        };
        let table = table(&[mutant("a"), mutant("b")], &[found]);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(rows[0], "| `a` | because | not convicted | sim | | | |");
        assert_eq!(rows[1], "| `b` | because | S5 | sim | 7 | 2.3 | panicked at c.rs:3 / it is decided |");
        let readme = with_table("before\n<!-- mutants -->\nold\n<!-- end of mutants -->\nafter\n", &table).unwrap();
        assert!(readme.starts_with("before\n") && readme.ends_with("after\n") && !readme.contains("old"), "{readme}");
        assert_eq!(names_in(&readme).unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_readme_without_a_place_for_the_table_is_an_error() {
        assert!(with_table("no place", "").is_err());
        assert!(names_in("<!-- end of mutants -->\n<!-- mutants -->\n").is_err());
    }

    #[test]
    fn a_long_sentence_is_cut() {
        let cut = cell(&"word ".repeat(100));
        assert!(cut.ends_with("word ...") && cut.len() < 170, "{cut}");
    }
}
