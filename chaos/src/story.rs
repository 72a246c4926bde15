//! Stories: directories of small text files that an operator can read, and that are tests.
//!
//! ```text
//! README.md      what happens, what the product does and why; which rules and promises of safety.md it shows
//! cluster.toml   the cluster when the script begins
//! script.txt     what goes wrong and what people do; the last line says how it ends
//! log.expect     what is seen, line by line, compared as a whole
//! ```

mod cluster;
pub mod cover;
mod log;
mod order;
mod panics;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use quorumfence_machine::Millis;

use crate::fault;
use crate::script::{self, Script};
use crate::verdict::Broken;
use crate::world::sim::story::{Told, tell};

pub use cluster::{Error as ClusterError, MEMORY_MIB, Machine, Scene, Vm, changed};

/// The variable that makes a play write `log.expect` anew.
pub const BLESS: &str = "QUORUMFENCE_BLESS";

/// Rules of `safety.md`.
pub const RULES: u8 = 49;

/// Promises of `safety.md`.
const PROMISES: [&str; 12] = ["S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "L1", "L2", "L3"];

/// A story as its directory holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// `<topic>/<name>`.
    pub name: String,
    /// Its directory.
    pub place: PathBuf,
    /// Rules of `safety.md` that it shows.
    pub rules: BTreeSet<u8>,
    /// Promises that it shows.
    pub promises: BTreeSet<String>,
    /// The cluster.
    pub scene: Scene,
    /// What happens.
    pub script: Script,
    /// How it ends.
    pub ending: Ending,
    /// What is seen; none when nobody has blessed it.
    pub expect: Option<String>,
}

/// How a story ends, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything is mended, and all must become well within the bound of L1 and L2.
    Heal(Millis),
    /// It stops there, with what the faults left: what then waits, waits for a person.
    End(Millis),
}

/// A story that was played.
#[derive(Debug)]
pub struct Played {
    /// What is seen.
    pub log: String,
    /// The promise that broke.
    pub broken: Option<Broken>,
    /// The run.
    pub told: Told,
}

/// Why a story cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The cluster is wrong.
    #[error("{} is wrong", path.display())]
    Cluster {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ClusterError,
    },
    /// The script is wrong.
    #[error("{} is wrong", path.display())]
    Script {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: script::Error,
    },
    /// The script does not say how the story ends, or the page what it shows.
    #[error("{}: {why}", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Ending {
    /// Returns when, counted from the start of the script.
    pub fn at(self) -> Millis {
        match self {
            Self::Heal(at) | Self::End(at) => at,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heal(at) => write!(f, "{} heal", fault::Time(*at)),
            Self::End(at) => write!(f, "{} end", fault::Time(*at)),
        }
    }
}

impl Story {
    /// Reads the story of a directory.
    ///
    /// # Errors
    /// Names the file and what is wrong in it.
    pub fn read(place: &Path) -> Result<Self, Error> {
        let text = |name: &str| {
            let path = place.join(name);
            fs::read_to_string(&path).map_err(|source| Error::Read { path, source })
        };
        let wrong = |name: &str, why: String| Error::Text { path: place.join(name), why };
        let (rules, promises) = shown(&text("README.md")?).map_err(|why| wrong("README.md", why))?;
        let cluster = |source| Error::Cluster { path: place.join("cluster.toml"), source };
        let scene = Scene::read(&text("cluster.toml")?).map_err(cluster)?;
        let lines = text("script.txt")?;
        let (actions, ending) = ending(&lines).map_err(|why| wrong("script.txt", why))?;
        let script: Script =
            actions.parse().map_err(|source| Error::Script { path: place.join("script.txt"), source })?;
        if script.actions.last().is_some_and(|last| last.at > ending.at()) {
            return Err(wrong("script.txt", "it ends before its last action".into()));
        }
        if let Some(stranger) = scene.cast().stranger(&script) {
            return Err(wrong("script.txt", stranger));
        }
        let names: Vec<&str> = place.iter().rev().take(2).filter_map(|part| part.to_str()).collect();
        let name = names.into_iter().rev().collect::<Vec<_>>().join("/");
        let expect = fs::read_to_string(place.join("log.expect")).ok();
        Ok(Self { name, place: place.into(), rules, promises, scene, script, ending, expect })
    }

    /// Plays it.
    ///
    /// # Errors
    /// The cluster could not even be founded.
    pub fn play(&self) -> anyhow::Result<Played> {
        let (told, panic) = panics::caught(|| tell(&self.scene, &self.script, self.ending));
        let told = told?;
        let panic = panic.map(|why| Broken { promise: "panic", at: told.ended, why });
        let broken = told.broken.clone().or(panic);
        Ok(Played { log: log::write(&self.scene, &told, broken.as_ref()), broken, told })
    }

    /// Returns the log of what was told of it.
    pub fn log(&self, told: &Told, broken: Option<&Broken>) -> String {
        log::write(&self.scene, told, broken)
    }

    /// Returns where a log tells something else than what is expected, or in another order; `None` where it does not.
    /// Times, and what chance decides in a world that is real, are not compared.
    pub fn disorder(&self, log: &str) -> Option<String> {
        self.expect.as_ref().and_then(|expect| order::disorder(expect, log))
    }

    /// Returns whether everything that is expected before the `nth` line of the script, from 0, is in a log.
    pub fn is_ready_for(&self, nth: usize, log: &str) -> bool {
        self.expect.as_ref().is_none_or(|expect| order::is_ready(expect, nth, log))
    }

    /// Writes what is seen, as what is expected from here on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn bless(&self, played: &Played) -> std::io::Result<()> {
        fs::write(self.place.join("log.expect"), &played.log)
    }

    /// Returns where two logs part, with a few lines around it; `None` where they are the same.
    pub fn difference(&self, played: &Played) -> Option<String> {
        let Some(expect) = &self.expect else {
            return Some(format!("it has no log.expect; {BLESS}=1 writes it, and then it wants to be read\n"));
        };
        (*expect != played.log).then(|| log::difference(expect, &played.log))
    }
}

/// Returns every story below a directory of topics, sorted.
///
/// # Errors
/// Names the first that cannot be read.
pub fn all(scenarios: &Path) -> Result<Vec<Story>, Error> {
    let mut stories = Vec::new();
    for topic in folders(scenarios)? {
        for place in folders(&topic)? {
            stories.push(Story::read(&place)?);
        }
    }
    Ok(stories)
}

fn folders(place: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = |source| Error::Read { path: place.into(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(place).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// Returns the rules and promises that a page names.
fn shown(page: &str) -> Result<(BTreeSet<u8>, BTreeSet<String>), String> {
    let named = |key: &str| -> Vec<&str> {
        let line = page.lines().find_map(|line| line.strip_prefix(key));
        line.into_iter().flat_map(|line| line.trim_end_matches('.').split(',')).map(str::trim).collect()
    };
    let mut rules = BTreeSet::new();
    for word in named("Rules: ") {
        let rule = word.parse().ok().filter(|rule| (1..=RULES).contains(rule));
        rules.insert(rule.ok_or_else(|| format!("'{word}' is no rule from 1 to {RULES}"))?);
    }
    let promises: BTreeSet<String> = named("Promises: ").into_iter().map(String::from).collect();
    if let Some(word) = promises.iter().find(|word| !PROMISES.contains(&word.as_str())) {
        return Err(format!("'{word}' is no promise"));
    }
    if rules.is_empty() && promises.is_empty() {
        return Err(
            "it names no rule ('Rules: 12, 38') and no promise ('Promises: S2, L1') that the story shows".into()
        );
    }
    Ok((rules, promises))
}

/// Parts a script from its last line.
fn ending(lines: &str) -> Result<(String, Ending), String> {
    let says_something = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let last = lines.lines().rfind(says_something).unwrap_or_default();
    let ending = match last.trim().split_once(' ').map(|(time, word)| (fault::duration(time), word)) {
        Some((Some(at), "heal")) => Ending::Heal(at),
        Some((Some(at), "end")) => Ending::End(at),
        Some(_) | None => return Err(format!("its last line is '{last}', and it ends with 'TIME heal' or 'TIME end'")),
    };
    let end = lines.rfind(last).unwrap_or(lines.len());
    Ok((lines[..end].into(), ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_says_how_it_ends() {
        let script = "1s heal\n# why\n60s end\n\n";
        assert_eq!(ending(script), Ok(("1s heal\n# why\n".into(), Ending::End(Millis(60_000)))));
        assert_eq!(ending("1s heal"), Ok((String::new(), Ending::Heal(Millis(1000)))));
        for wrong in ["", "1s host host2 power-cut", "end", "soon end"] {
            assert!(ending(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_page_names_what_the_story_shows() {
        let page = "It shows.\n\nRules: 12, 38\nPromises: S2, L1\n";
        let (rules, promises) = shown(page).unwrap();
        assert_eq!((rules, promises), ([12, 38].into(), ["S2".to_string(), "L1".into()].into()));
        assert!(shown("Promises: L3").is_ok());
        for wrong in ["", "Rules: 50", "Rules: twelve", "Promises: S0"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
