//! The files that tell a node where it lives. Policy is not here: it stands in the log, the same for all.
//!
//! A key that is not known is an error, because a misspelt key is a setting that silently does not hold.

use std::fmt;
use std::path::{Path, PathBuf};

use quorumfence_machine::HostId;
use quorumfence_raft::Options;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use crate::cluster::directory::ControllerAddress;

/// No configuration is larger; more is a wrong file.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// A key this many edits away from a known one is taken for a slip of the finger.
const SLIP_EDITS_MAX: usize = 2;

/// Why a configuration was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {}; name another with --config, or check its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is far too large for what it should be.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes, so it is no configuration; name another with --config", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A key that nothing reads.
    #[error("{place}: unknown key '{key}'{}; the known keys are {}", suggestion(*near), known.join(", "))]
    UnknownKey {
        /// Where it stands.
        place: Place,
        /// The key.
        key: String,
        /// The known key that was probably meant.
        near: Option<&'static str>,
        /// All known keys.
        known: Vec<&'static str>,
    },
    /// The text is not TOML, or a value does not fit its key.
    #[error("{place}: {message}; correct it and start again")]
    Value {
        /// Where it stands.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// Two keys contradict each other, or a value cannot work.
    #[error("{}: {message}", path.display())]
    Relation {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

fn suggestion(near: Option<&'static str>) -> String {
    near.map_or_else(String::new, |near| format!(", did you mean '{near}'?"))
}

/// How patient consensus is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// For networks and disks that are sometimes slow.
    #[default]
    Default,
    /// For quick detection in a quiet network with quick disks.
    Fast,
}

impl Profile {
    /// Returns the timing of consensus.
    pub fn raft(self) -> Options {
        match self {
            Self::Default => Options::default(),
            Self::Fast => Options::fast(),
        }
    }

    /// Returns the cluster's settings.
    pub fn settings(self) -> quorumfence_machine::Settings {
        match self {
            Self::Default => quorumfence_machine::Settings::default(),
            Self::Fast => quorumfence_machine::Settings::fast(),
        }
    }
}

/// Where a controller lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Controller {
    /// Its identity, keys and database.
    pub data_dir: PathBuf,
    /// Where it listens, `address:port`.
    pub listen: String,
    /// Where its peers, agents and operators reach it, `host:port`.
    pub advertise: String,
    /// How patient consensus is.
    #[serde(default)]
    pub raft_profile: Profile,
    /// Entries between two snapshots; fewer keep the log small and write the state more often.
    #[serde(default = "default_snapshot_after")]
    pub snapshot_after: u64,
    /// Entries that stay behind a snapshot, so that a controller that was away briefly needs none.
    #[serde(default = "default_log_kept")]
    pub log_kept: u64,
    /// Whether it may be held at any step, and agents of simulated hosts are let in. Never in production.
    #[serde(default)]
    pub laboratory: bool,
    /// Where a laboratory's witness hears everything that this controller applies; it cannot start without it.
    #[serde(default)]
    pub laboratory_socket: Option<PathBuf>,
}

/// Where an agent lives and what it looks after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its identity.
    pub data_dir: PathBuf,
    /// The host; it must be the one in the agent's certificate.
    pub host: HostId,
    /// The hypervisor's connection URI; `laboratory:` and a socket's path is a simulated one.
    #[serde(default = "default_hypervisor")]
    pub hypervisor: String,
    /// Whether it may be held at any step, and the hypervisor may be simulated. Never in production.
    #[serde(default)]
    pub laboratory: bool,
    /// Where the boot's identity is read.
    #[serde(default = "default_boot_id_file")]
    pub boot_id_file: PathBuf,
    /// Where the machine's SMBIOS UUID is read; a file that is missing means that it is not known.
    #[serde(default = "default_system_uuid_file")]
    pub system_uuid_file: PathBuf,
    /// The controllers to ask first; empty takes those that the agent remembers.
    #[serde(default)]
    pub controllers: Vec<ControllerAddress>,
}

/// What the URI of a simulated hypervisor begins with.
const LABORATORY_SCHEME: &str = "laboratory:";

fn default_snapshot_after() -> u64 {
    Options::default().snapshot_after
}

fn default_log_kept() -> u64 {
    Options::default().log_kept
}

fn default_hypervisor() -> String {
    "qemu:///system".into()
}

fn default_boot_id_file() -> PathBuf {
    "/proc/sys/kernel/random/boot_id".into()
}

fn default_system_uuid_file() -> PathBuf {
    "/sys/class/dmi/id/product_uuid".into()
}

impl Controller {
    /// Returns the configuration of a controller that keeps to what is usual.
    pub fn new(data_dir: PathBuf, listen: String, advertise: String) -> Self {
        Self {
            data_dir,
            listen,
            advertise,
            raft_profile: Profile::default(),
            snapshot_after: default_snapshot_after(),
            log_kept: default_log_kept(),
            laboratory: false,
            laboratory_socket: None,
        }
    }

    /// Returns the timing and the retention of consensus.
    pub fn raft(&self) -> Options {
        Options { snapshot_after: self.snapshot_after, log_kept: self.log_kept, ..self.raft_profile.raft() }
    }

    /// Reads and checks a controller's configuration.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let config: Self = load(path)?;
        let relation = |message: String| Error::Relation { path: path.into(), message };
        check_address("listen", &config.listen).map_err(relation)?;
        check_address("advertise", &config.advertise).map_err(relation)?;
        if is_unspecified(&config.advertise) {
            return Err(relation(format!(
                "advertise is {}, which nobody can reach; write the address that peers and agents use",
                config.advertise
            )));
        }
        if config.snapshot_after == 0 {
            return Err(relation(
                "snapshot_after is 0, so every entry would wait for a snapshot; write 1 or more, or take it out for 5000"
                    .into(),
            ));
        }
        if config.laboratory_socket.is_some() && !config.laboratory {
            let message = "laboratory_socket is set, and this is no laboratory; take it out, or add 'laboratory = true' \
                           where nothing real is fenced";
            return Err(relation(message.into()));
        }
        Ok(config)
    }
}

impl Agent {
    /// Returns the configuration of an agent that keeps to the usual places.
    pub fn new(data_dir: PathBuf, host: HostId) -> Self {
        Self {
            data_dir,
            host,
            hypervisor: default_hypervisor(),
            laboratory: false,
            boot_id_file: default_boot_id_file(),
            system_uuid_file: default_system_uuid_file(),
            controllers: Vec::new(),
        }
    }

    /// Reads and checks an agent's configuration.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let config: Self = load(path)?;
        let relation = |message: String| Error::Relation { path: path.into(), message };
        for controller in &config.controllers {
            check_address("controllers.address", &controller.address).map_err(relation)?;
        }
        if config.laboratory_hypervisor().is_some() && !config.laboratory {
            return Err(relation(format!(
                "hypervisor is '{}', a simulated one; name a real one, or add 'laboratory = true' where nothing real runs",
                config.hypervisor
            )));
        }
        Ok(config)
    }

    /// Returns the socket of the simulated hypervisor, where the hypervisor is one.
    pub fn laboratory_hypervisor(&self) -> Option<&Path> {
        self.hypervisor.strip_prefix(LABORATORY_SCHEME).map(Path::new)
    }
}

/// Checks that `address` is `host:port`.
pub fn check_address(key: &str, address: &str) -> Result<(), String> {
    let host_and_port = address.rsplit_once(':');
    let port = host_and_port.and_then(|(_, port)| port.parse::<u16>().ok());
    if host_and_port.is_some_and(|(host, _)| !host.is_empty()) && port.is_some_and(|port| port > 0) {
        return Ok(());
    }
    Err(format!("{key} is '{address}'; write host:port with a port from 1 to 65535, such as 192.0.2.1:7420"))
}

/// Returns whether an address means "every address of this machine", which is no place to be reached at.
pub fn is_unspecified(address: &str) -> bool {
    address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_unspecified())
}

trait File: DeserializeOwned {
    const KEYS: &'static [&'static str];
}

impl File for Controller {
    const KEYS: &'static [&'static str] = &[
        "data_dir",
        "listen",
        "advertise",
        "raft_profile",
        "snapshot_after",
        "log_kept",
        "laboratory",
        "laboratory_socket",
    ];
}

impl File for Agent {
    const KEYS: &'static [&'static str] =
        &["data_dir", "host", "hypervisor", "laboratory", "boot_id_file", "system_uuid_file", "controllers"];
}

fn load<T: File>(path: &Path) -> Result<T, Error> {
    let unreadable = |source| Error::Read { path: path.into(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(Error::TooLarge { path: path.into() });
    }
    parse(path, &std::fs::read_to_string(path).map_err(unreadable)?)
}

fn parse<T: File>(path: &Path, text: &str) -> Result<T, Error> {
    let place = |offset: usize| Place { path: path.into(), line: line_of(text, offset) };
    let invalid = |error: toml::de::Error| Error::Value {
        place: place(error.span().map_or(0, |span| span.start)),
        message: error.message().replace('\n', ", "),
    };
    let table = DeTable::parse(text).map_err(invalid)?;
    for key in table.get_ref().keys() {
        let name: &str = key.get_ref();
        if !T::KEYS.contains(&name) {
            let (place, near) = (place(key.span().start), nearest(name, T::KEYS));
            return Err(Error::UnknownKey { place, key: name.into(), near, known: T::KEYS.to_vec() });
        }
    }
    toml::from_str(text).map_err(invalid)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn nearest(key: &str, known: &'static [&'static str]) -> Option<&'static str> {
    let measured = known.iter().map(|candidate| (edits(key, candidate), *candidate));
    measured.filter(|(edits, _)| *edits <= SLIP_EDITS_MAX).min().map(|(_, candidate)| candidate)
}

/// Returns how many letters must be added, removed or changed to make one word of the other.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: File + fmt::Debug>(text: &str) -> String {
        parse::<T>(Path::new("c.toml"), text).expect_err("it is refused").to_string()
    }

    fn keys_of<T: Serialize>(config: &T) -> Vec<String> {
        let text = toml::to_string(config).expect("it has texts and lists");
        text.parse::<toml::Table>().expect("it was just written").keys().cloned().collect()
    }

    fn sorted(keys: &[&str]) -> Vec<String> {
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_string()).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_known_keys_are_those_that_are_written() {
        let controller = Controller {
            laboratory_socket: Some("/s".into()),
            ..Controller::new("/d".into(), "l:1".into(), "a:1".into())
        };
        assert_eq!(keys_of(&controller), sorted(Controller::KEYS));
        let agent = Agent::new("/d".into(), "h1".parse().expect("a name"));
        assert_eq!(keys_of(&agent), sorted(Agent::KEYS));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_line_and_the_key_that_was_meant() {
        assert_eq!(
            refusal::<Controller>("data_dir = \"/d\"\nlisen = \"127.0.0.1:1\"\n"),
            "c.toml:2: unknown key 'lisen', did you mean 'listen'?; the known keys are data_dir, listen, advertise, \
             raft_profile, snapshot_after, log_kept, laboratory, laboratory_socket"
        );
        assert_eq!(
            refusal::<Agent>("fence_timeout = 3\n"),
            "c.toml:1: unknown key 'fence_timeout'; the known keys are data_dir, host, hypervisor, laboratory, \
             boot_id_file, system_uuid_file, controllers"
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
        let text = "data_dir = \"/d\"\nlisten = \"l:1\"\nadvertise = \"a:1\"\nlaboratory = 3\n";
        assert_eq!(
            refusal::<Controller>(text),
            "c.toml:4: invalid type: integer `3`, expected a boolean; correct it and start again"
        );
        assert_eq!(
            refusal::<Agent>("data_dir = \"/d\"\nhost = \"Host 1\"\n"),
            "c.toml:2: 'Host 1' holds 'H'; a name has lower-case letters, digits, '-', '_' and '.', and starts with a \
             letter or digit; correct it and start again"
        );
    }

    #[test]
    fn an_address_needs_a_host_and_a_port() {
        for good in ["127.0.0.1:7420", "ctl1.example:1", "[::1]:65535"] {
            assert_eq!(check_address("listen", good), Ok(()), "{good}");
        }
        for bad in ["", "7420", ":7420", "host:", "host:0", "host:65536", "host:http"] {
            assert!(check_address("listen", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("lisen", "listen"), 1);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("same", "same"), 0);
    }
}
