//! A running agent: its files, its hypervisor and its loops put together.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use quorumfence_drivers::fencing::identity::known;
use quorumfence_drivers::hypervisor::libvirt::Libvirt;
use quorumfence_drivers::lab::remote::RemoteHypervisor;
use quorumfence_machine::{BootId, HostId, ParseError, Refused, SystemUuid};
use quorumfence_raft::{Peer, SystemClock};

use super::{GrpcLink, HostHypervisor, Production, stalls, told_to_stop};
use crate::agent::{Agent, Controllers, LEASE, Setup};
use crate::cluster::directory::{self, AgentDirectory, ControllerAddress, Lock};
use crate::cluster::refusals::Refusals;
use crate::config;

/// Why an agent did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its directory is unusable.
    #[error(transparent)]
    Directory(#[from] directory::Error),
    /// The configuration names another host than the certificate.
    #[error(
        "the configuration says host {configured}, but this agent joined as {joined}; correct 'host', or join again in \
         another directory"
    )]
    OtherHost {
        /// What the configuration says.
        configured: HostId,
        /// What the certificate says.
        joined: HostId,
    },
    /// A fact about this machine cannot be read.
    #[error("cannot read {}, so this agent cannot tell {what}", path.display())]
    Fact {
        /// The file.
        path: PathBuf,
        /// What it tells.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A fact about this machine makes no sense.
    #[error("{} does not tell {what}", path.display())]
    Senseless {
        /// The file.
        path: PathBuf,
        /// What it should tell.
        what: &'static str,
        /// Why.
        #[source]
        source: Option<ParseError>,
    },
    /// The laboratory's hypervisor is not there.
    #[error("no laboratory listens at {}, and this agent has no other hypervisor; start the laboratory first", socket.display())]
    NoLaboratory {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No controller is known.
    #[error("no controller is known; name one under 'controllers' in the configuration")]
    NoController,
    /// Signals cannot be received.
    #[error("signals cannot be received, so nobody could stop this agent in order")]
    Signals(#[source] std::io::Error),
}

/// An agent that runs until it is told to stop.
#[derive(Debug)]
pub struct Running {
    agent: Agent<Production>,
    _lock: Lock,
}

/// Starts the agent of this machine. Must be called inside tokio.
pub fn start(config: &config::Agent) -> Result<Running, Error> {
    crate::cluster::install_crypto();
    let directory = AgentDirectory::open(&config.data_dir)?;
    let lock = directory.lock()?;
    let description = directory.description()?;
    if description.host != config.host {
        return Err(Error::OtherHost { configured: config.host.clone(), joined: description.host });
    }
    // Whoever is named in the configuration is only called first: a list older than the remembered one stays unbelieved.
    let at = description.controllers_at;
    let known_controllers =
        if config.controllers.is_empty() { description.controllers } else { config.controllers.clone() };
    if known_controllers.is_empty() {
        return Err(Error::NoController);
    }
    let identity = directory.identity()?;
    let boot = boot(&config.boot_id_file)?;
    if config.laboratory {
        stalls::obey(&config.data_dir);
        let warning = "laboratory = true: whoever can write to 'stalls' in its directory holds this agent at any step, and its \
                       hypervisor may be a simulated one; take it out where real instances run";
        tracing::warn!(host = %config.host, directory = %config.data_dir.display(), "{warning}");
    }
    let system_uuid = system_uuid(&config.system_uuid_file)?;
    let (place, refusals) = directory.refusals(boot)?;
    let place = Mutex::new(place);
    tracing::info!(host = %config.host, %boot, "agent starts");
    let agent = Agent::start(Setup {
        host: config.host.clone(),
        boot,
        system_uuid,
        memory_mib: memory_mib(Path::new("/proc/meminfo"))?,
        lease: LEASE,
        controllers: Controllers {
            at,
            peers: known_controllers.into_iter().map(|known| Peer { id: known.id, address: known.address }).collect(),
        },
        hypervisor: hypervisor(config)?,
        link: GrpcLink::new(identity),
        clock: SystemClock,
        found: Box::new(move |controllers| remember(&directory, controllers)),
        refusals,
        keep: Box::new(move |refusals| keep(&place, refusals)),
        laboratory: config.laboratory,
    });
    Ok(Running { agent, _lock: lock })
}

impl Running {
    /// Waits until the process is told to stop, and stops in order.
    pub async fn until_stopped(self) -> Result<(), Error> {
        told_to_stop().await.map_err(Error::Signals)?;
        tracing::info!("agent stops");
        self.agent.shutdown().await;
        Ok(())
    }

    /// Returns the agent's loops.
    pub fn agent(&self) -> &Agent<Production> {
        &self.agent
    }
}

fn hypervisor(config: &config::Agent) -> Result<HostHypervisor, Error> {
    let Some(socket) = config.laboratory_hypervisor() else {
        return Ok(HostHypervisor::Libvirt(Libvirt::new(&config.hypervisor)));
    };
    let opened = RemoteHypervisor::open(socket);
    let opened = opened.map_err(|source| Error::NoLaboratory { socket: socket.into(), source })?;
    tracing::warn!(host = %config.host, "the hypervisor is a laboratory's: nothing real runs here");
    Ok(HostHypervisor::Laboratory(opened))
}

fn remember(directory: &AgentDirectory, controllers: &Controllers) {
    let addresses: Vec<ControllerAddress> =
        controllers.peers.iter().map(|peer| ControllerAddress { id: peer.id, address: peer.address.clone() }).collect();
    if let Err(error) = directory.remember(controllers.at, &addresses) {
        tracing::warn!(%error, "the controllers' addresses were not saved; the next start begins from older ones");
    }
}

fn keep(place: &Mutex<Refusals>, refusals: &[Refused]) -> bool {
    let kept = place.lock().expect("nothing panics while it keeps refusals").keep(refusals);
    if let Err(error) = &kept {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, cause, "refusals cannot be kept");
    }
    kept.is_ok()
}

fn boot(path: &Path) -> Result<BootId, Error> {
    let what = "which boot of this host runs";
    let text = std::fs::read_to_string(path).map_err(|source| Error::Fact { path: path.into(), what, source })?;
    text.trim().parse().map_err(|source| Error::Senseless { path: path.into(), what, source: Some(source) })
}

/// Firmware without a UUID, and a machine without firmware tables, have none: that is a fact, and no error.
fn system_uuid(path: &Path) -> Result<Option<SystemUuid>, Error> {
    let what = "which machine this is";
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Fact { path: path.into(), what, source }),
    };
    let uuid = text.trim().to_ascii_lowercase().parse();
    let uuid = uuid.map_err(|source| Error::Senseless { path: path.into(), what, source: Some(source) })?;
    Ok(known(uuid))
}

fn memory_mib(path: &Path) -> Result<u64, Error> {
    let what = "how much memory this host has";
    let text = std::fs::read_to_string(path).map_err(|source| Error::Fact { path: path.into(), what, source })?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
    kib.map(|kib| kib / 1024).ok_or_else(|| Error::Senseless { path: path.into(), what, source: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_files() {
        let place = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = place.path().join(name);
            std::fs::write(&path, text).expect("it can be written");
            path
        };
        let uuid = "33221100-5544-7766-8899-aabbccddeeff";
        assert_eq!(boot(&file("boot", &format!("{uuid}\n"))).expect("a boot").to_string(), uuid);
        let upper = system_uuid(&file("uuid", &uuid.to_uppercase())).expect("a UUID");
        assert_eq!(upper.map(|uuid| uuid.to_string()).as_deref(), Some(uuid));
        assert_eq!(system_uuid(&file("unset", "00000000-0000-0000-0000-000000000000")).expect("a UUID"), None);
        assert_eq!(system_uuid(&place.path().join("absent")).expect("no table is a fact"), None);
        let memory = "MemTotal:       16318444 kB\nMemFree:  1 kB\n";
        assert_eq!(memory_mib(&file("memory", memory)).expect("a number"), 15935);
        assert!(matches!(boot(&file("odd", "x")), Err(Error::Senseless { .. })));
        assert!(matches!(memory_mib(&file("less", "MemFree: 1 kB")), Err(Error::Senseless { .. })));
    }
}
