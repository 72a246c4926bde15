//! `cluster.toml`: the cluster that a story plays in.

use std::collections::BTreeMap;

use quorumfence_machine::{HostId, Segment, Settings};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fault::{Gear, Levels};
use crate::script::Cast;
use crate::swarm::{Profile, Shape};

/// Memory of a host for instances, unless the story says otherwise.
pub const MEMORY_MIB: u64 = 4096;

/// Memory of an instance, unless the story says otherwise.
const INSTANCE_MEMORY_MIB: u64 = 64;

/// Recovery priority of an instance, unless the story says otherwise.
const PRIORITY: u16 = 500;

/// Entries between two snapshots, unless the story says otherwise.
const SNAPSHOT_AFTER: u64 = 400;

/// The cluster of a story, as it stands when the script begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// Decides everything that chance decides.
    pub seed: u64,
    /// Controllers that vote.
    pub controllers: u8,
    /// Cluster-wide policy.
    pub settings: Settings,
    /// The one segment.
    pub segment: Segment,
    /// Whether it may fence.
    pub armed: bool,
    /// Whether clients write and read meanwhile.
    pub clients: bool,
    /// Whether the log tells how the cluster was founded, too.
    pub founding: bool,
    /// Clock rate of each controller, in parts per million off the world's; others after these have none.
    pub drift: Vec<i32>,
    /// Entries between two snapshots.
    pub snapshot_after: u64,
    /// The hosts, `host1` first.
    pub machines: Vec<Machine>,
}

/// One host of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its number, from 1.
    pub number: u8,
    /// Memory for instances, in MiB.
    pub memory_mib: u64,
    /// What it can be fenced with; none when it joined and nobody enrolled it.
    pub levels: Option<Levels>,
    /// What runs there at first.
    pub instances: Vec<Vm>,
}

/// One instance of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    /// Its name.
    pub name: String,
    /// Recovery order, higher first.
    pub priority: u16,
    /// Memory that it needs, in MiB.
    pub memory_mib: u64,
    /// Opted in to high availability.
    pub ha: bool,
}

/// What is wrong with a `cluster.toml`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not of the right form.
    #[error("it cannot be read")]
    Form(#[source] Box<toml::de::Error>),
    /// A section's key is not known.
    #[error("[{section}] has no key '{key}'; it has {}", known.join(", "))]
    Key {
        /// The section.
        section: &'static str,
        /// The key.
        key: String,
        /// The keys that it could be.
        known: Vec<String>,
    },
    /// A section's value is of the wrong kind.
    #[error("[{section}] holds a value that does not fit")]
    Value {
        /// The section.
        section: &'static str,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// What it says contradicts itself.
    #[error("{0}")]
    Contradiction(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    seed: u64,
    #[serde(default = "three")]
    controllers: u8,
    hosts: u8,
    #[serde(default = "standard")]
    profile: Profile,
    #[serde(default = "yes")]
    armed: bool,
    #[serde(default)]
    clients: bool,
    #[serde(default)]
    founding: bool,
    #[serde(default)]
    drift: Vec<i32>,
    snapshot_after: Option<u64>,
    instances: Option<Vec<InstanceRow>>,
    #[serde(default)]
    host: BTreeMap<HostId, HostRow>,
    #[serde(default)]
    settings: toml::Table,
    #[serde(default)]
    segment: toml::Table,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostRow {
    memory_mib: Option<u64>,
    levels: Option<Vec<String>>,
    enrolled: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InstanceRow {
    name: String,
    host: HostId,
    priority: Option<u16>,
    memory_mib: Option<u64>,
    ha: Option<bool>,
}

fn three() -> u8 {
    3
}

fn standard() -> Profile {
    Profile::Default
}

fn yes() -> bool {
    true
}

impl Scene {
    /// Reads a `cluster.toml`.
    ///
    /// # Errors
    /// Names the section and the key that is wrong.
    pub fn read(text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text).map_err(|error| Error::Form(Box::new(error)))?;
        let (settings, segment) = policy(file.profile);
        let settings = overlay("settings", &settings, &file.settings)?;
        settings.check().map_err(|rejected| Error::Contradiction(rejected.to_string()))?;
        let segment = overlay("segment", &segment, &file.segment)?;
        let known = |host: &HostId| (1..=file.hosts).any(|number| name(number) == host.as_str());
        let named = file.host.keys().chain(file.instances.iter().flatten().map(|row| &row.host));
        if let Some(stranger) = named.into_iter().find(|host| !known(host)) {
            return Err(Error::Contradiction(format!("{stranger} is none of the {} hosts", file.hosts)));
        }
        let machines = (1..=file.hosts).map(|number| machine(&file, number)).collect::<Result<_, _>>()?;
        Ok(Self {
            seed: file.seed,
            controllers: file.controllers,
            settings,
            segment,
            armed: file.armed,
            clients: file.clients,
            founding: file.founding,
            drift: file.drift,
            snapshot_after: file.snapshot_after.unwrap_or(SNAPSHOT_AFTER),
            machines,
        })
    }
}

impl Scene {
    /// Returns whom a script may speak of.
    pub fn cast(&self) -> Cast {
        let named = |machine: &Machine| name(machine.number).parse().expect("'host' and digits are a name");
        let instances = self.machines.iter().flat_map(|machine| &machine.instances);
        Cast {
            hosts: self.machines.iter().map(named).collect(),
            instances: instances.map(|vm| vm.name.clone()).collect(),
            controllers: self.controllers,
        }
    }

    /// Returns the cluster that a seed's shape describes, armed and with clients.
    pub fn of(seed: u64, shape: &Shape) -> Self {
        let (settings, segment) = shape.policy();
        let vm = |number: u8| move |which: u8| Vm::of(format!("vm{number}{}", char::from(b'a' + which % 26)));
        let machine = |number| Machine {
            number,
            memory_mib: MEMORY_MIB,
            levels: Some(Levels(vec![vec![Gear::Bmc]])),
            instances: (0..shape.instances_per_host).map(vm(number)).collect(),
        };
        Self {
            seed,
            controllers: shape.controllers,
            settings,
            segment,
            armed: true,
            clients: true,
            founding: true,
            drift: shape.drift.clone(),
            snapshot_after: shape.snapshot_after,
            machines: (1..=shape.hosts).map(machine).collect(),
        }
    }
}

/// Returns settings with one of them changed, as a line of TOML says.
///
/// # Errors
/// Names the key that is wrong.
pub fn changed(settings: &Settings, line: &str) -> Result<Settings, Error> {
    let change: toml::Table = toml::from_str(line).map_err(|error| Error::Form(Box::new(error)))?;
    overlay("settings", settings, &change)
}

fn policy(profile: Profile) -> (Settings, Segment) {
    match profile {
        Profile::Fast => {
            (Settings::fast(), Segment { check_interval: quorumfence_machine::Millis(250), ..Segment::default() })
        }
        Profile::Default => (Settings::default(), Segment::default()),
    }
}

/// Replaces the keys of `base` that `changes` names.
fn overlay<T: serde::Serialize + DeserializeOwned>(
    section: &'static str,
    base: &T,
    changes: &toml::Table,
) -> Result<T, Error> {
    let mut table = toml::Table::try_from(base)
        .map_err(|error| Error::Contradiction(format!("the {section} have no form in TOML: {error}")))?;
    for (key, value) in changes {
        if !table.contains_key(key) {
            let known = table.keys().cloned().collect();
            return Err(Error::Key { section, key: key.clone(), known });
        }
        table.insert(key.clone(), value.clone());
    }
    table.try_into().map_err(|source| Error::Value { section, source: Box::new(source) })
}

fn machine(file: &File, number: u8) -> Result<Machine, Error> {
    let host = name(number);
    let row = file.host.iter().find(|(name, _)| name.as_str() == host).map(|(_, row)| row);
    let words = row.and_then(|row| row.levels.clone()).unwrap_or_else(|| vec!["bmc".into()]);
    let levels = Levels::read(words.iter().map(String::as_str))
        .map_err(|why| Error::Contradiction(format!("[host.{host}] levels: {why}")))?;
    let is_enrolled = row.and_then(|row| row.enrolled).unwrap_or(true);
    let instances = match &file.instances {
        None => vec![Vm::of(format!("vm{number}"))],
        Some(rows) => rows.iter().filter(|row| row.host.as_str() == host).map(Vm::from).collect(),
    };
    Ok(Machine {
        number,
        memory_mib: row.and_then(|row| row.memory_mib).unwrap_or(MEMORY_MIB),
        levels: is_enrolled.then_some(levels),
        instances,
    })
}

fn name(number: u8) -> String {
    format!("host{number}")
}

impl Vm {
    fn of(name: String) -> Self {
        Self { name, priority: PRIORITY, memory_mib: INSTANCE_MEMORY_MIB, ha: true }
    }
}

impl From<&InstanceRow> for Vm {
    fn from(row: &InstanceRow) -> Self {
        let usual = Self::of(row.name.clone());
        Self {
            priority: row.priority.unwrap_or(usual.priority),
            memory_mib: row.memory_mib.unwrap_or(usual.memory_mib),
            ha: row.ha.unwrap_or(usual.ha),
            name: usual.name,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use quorumfence_machine::{Millis, ProofClass};

    use super::*;

    #[test]
    fn a_scene_is_read_with_what_it_leaves_out() {
        let text = "
            seed = 7
            hosts = 2
            instances = [{ name = 'db', host = 'host2', priority = 900, ha = false }]
            [host.host2]
            levels = ['bmc', 'pdu+bmc']
            memory_mib = 128
            [settings]
            permit_life = 30000
            proofs = ['Human']
            [segment]
            evacuation_enabled = false
        ";
        let scene = Scene::read(text).unwrap();
        assert_eq!((scene.seed, scene.controllers, scene.armed), (7, 3, true));
        assert_eq!(scene.settings.permit_life, Millis(30_000));
        assert_eq!(scene.settings.proofs, [ProofClass::Human].into());
        assert_eq!(scene.settings.heartbeat_interval, Settings::default().heartbeat_interval);
        assert!(!scene.segment.evacuation_enabled);
        let host2 = &scene.machines[1];
        assert_eq!(host2.levels.as_ref().unwrap().to_string(), "bmc pdu+bmc");
        assert_eq!(host2.instances, [Vm { name: "db".into(), priority: 900, memory_mib: 64, ha: false }]);
        assert_eq!((host2.memory_mib, scene.machines[0].memory_mib), (128, MEMORY_MIB));
        assert!(scene.machines[0].instances.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, why) in [
            ("hosts = 2", "missing field `seed`"),
            ("seed = 1\nhosts = 2\nspeed = 3", "unknown field `speed`"),
            (
                "seed = 1\nhosts = 2\n[settings]\nspeed = 3",
                "[settings] has no key 'speed'; it has attempts_per_level, ",
            ),
            ("seed = 1\nhosts = 2\n[segment]\nspeed = 3", "[segment] has no key 'speed'"),
            ("seed = 1\nhosts = 2\n[settings]\nproofs = ['Hope']", "unknown variant `Hope`"),
            ("seed = 1\nhosts = 2\n[settings]\npermit_life = 1", "permit_life is below four times device_deadline"),
            ("seed = 1\nhosts = 2\n[host.host3]\nmemory_mib = 1", "host3 is none of the 2 hosts"),
            ("seed = 1\nhosts = 2\n[host.host2]\nlevels = ['axe']", "[host.host2] levels: 'axe' is no fencing device"),
        ] {
            let error = Scene::read(text).unwrap_err();
            let chain = format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default());
            assert!(chain.contains(why), "{text}: {chain}");
        }
    }

    #[test]
    fn one_setting_is_changed_and_the_others_stay() {
        let settings = changed(&Settings::default(), "late_delivery = 5000").unwrap();
        assert_eq!(settings, Settings { late_delivery: Millis(5000), ..Settings::default() });
        assert!(changed(&settings, "lateness = 5").is_err());
    }
}
