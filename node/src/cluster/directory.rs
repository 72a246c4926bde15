//! The files of one member.
//!
//! ```text
//! controller                              agent
//!   ca.pem        the authority             ca.pem
//!   ca.key        its key, secret           agent.pem
//!   node.pem      this node's certificate   agent.key       secret
//!   node.key      its key, secret           identity.toml   written last
//!   cluster.key   opens sealed passwords, secret
//!   bootstrap     there until the first start has initialised the log
//!   identity.toml written last: without it the directory is not a member's
//!   store/        RocksDB                  refusals       of this boot, made at the first start
//! ```
//!
//! Every file is written aside, synced and renamed, but the refusals, which are written in place. Nothing here replaces an identity by accident: a directory that
//! holds anything of a member is refused, because a member that starts with another's log lies about what it promised.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use quorumfence_drivers::secret::{ClusterKey, Secret};
use quorumfence_machine::{BootId, ClusterId, ControllerId, HostId, LogIndex, Refused};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::authority::{self, Authority};
use super::file::{self, Readers};
use super::identity::{self, Identity, IdentityFiles, Peer};
use super::refusals::{self, Refusals};
use super::{NoEntropy, hex, unguessable};

const AUTHORITY_CERTIFICATE: &str = "ca.pem";
const AUTHORITY_KEY: &str = "ca.key";
const NODE_CERTIFICATE: &str = "node.pem";
const NODE_KEY: &str = "node.key";
const AGENT_CERTIFICATE: &str = "agent.pem";
const AGENT_KEY: &str = "agent.key";
const CLUSTER_KEY: &str = "cluster.key";
const IDENTITY: &str = "identity.toml";
const REFUSALS: &str = "refusals";
const BOOTSTRAP: &str = "bootstrap";
const STORE: &str = "store";

/// Why a member's directory was not made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is something already.
    #[error("{} holds {found} already, so nothing was written; choose another directory, or move this one away if that member is gone for good", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// No member's directory.
    #[error("{} holds no {IDENTITY}, so no member lives there; run 'quorumfence cluster init' or join one", path.display())]
    NoMember {
        /// The directory.
        path: PathBuf,
    },
    /// A file was not read or written.
    #[error(transparent)]
    File(#[from] file::Error),
    /// The authority's files are unusable.
    #[error("the authority in {} cannot be used", path.display())]
    Authority {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: authority::Error,
    },
    /// The member's files are unusable.
    #[error("the identity in {} cannot be used", path.display())]
    Identity {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: identity::Error,
    },
    /// The certificate names another member than `identity.toml`.
    #[error("the certificate in {} is for {found}, but {IDENTITY} says {expected}; restore the directory from one copy", path.display())]
    OtherMember {
        /// The directory.
        path: PathBuf,
        /// Whom the description names.
        expected: Peer,
        /// Whom the certificate names.
        found: Peer,
    },
    /// A renewed certificate for another key.
    #[error("the renewed certificate is for another key than the one in {}, so nothing was replaced; renew the key that is there", path.display())]
    OtherKey {
        /// The directory.
        path: PathBuf,
    },
    /// A TOML file with a mistake.
    #[error("{} cannot be understood; restore it from a copy", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The mistake.
        #[source]
        source: toml::de::Error,
    },
    /// What an agent refused cannot be read.
    #[error(transparent)]
    Refusals(#[from] refusals::Error),
    /// Another process lives in the directory.
    #[error("another agent runs in {}; stop it first, or join another host in a directory of its own", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Nobody can tell whether another process lives in the directory.
    #[error("cannot lock {}, so two agents could run in it", path.display())]
    Lock {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The cluster key is damaged.
    #[error("{} does not hold 64 hexadecimal digits; copy the file from another controller", path.display())]
    ClusterKey {
        /// The file.
        path: PathBuf,
    },
}

/// Who a controller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerDescription {
    /// The cluster.
    pub cluster: ClusterId,
    /// The cluster's name, for people.
    pub cluster_name: String,
    /// The controller's id, never used by another.
    pub controller: ControllerId,
}

/// Who an agent is, and whom it can ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentDescription {
    /// The cluster.
    pub cluster: ClusterId,
    /// The host that the agent cares for.
    pub host: HostId,
    /// The controllers, as they were known last; sorted by id.
    pub controllers: Vec<ControllerAddress>,
    /// The entry of the log that named them; 0 where none did.
    #[serde(default)]
    pub controllers_at: LogIndex,
}

/// Where a controller is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerAddress {
    /// The controller; its certificate must name it.
    pub id: ControllerId,
    /// `host:port`.
    pub address: String,
}

/// Whether a controller starts a cluster or enters one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// The first controller: its first start initialises the log.
    Founds,
    /// A later one: the leader sends it the log.
    Joins,
}

/// What a controller's directory begins with.
#[derive(Debug)]
pub struct ControllerFiles<'a> {
    /// Who it is.
    pub description: &'a ControllerDescription,
    /// The cluster's authority: every controller can sign.
    pub authority: &'a Authority,
    /// Its own key and certificate.
    pub identity: &'a Identity,
    /// What opens the sealed passwords in the log.
    pub cluster_key: &'a ClusterKey,
    /// How it came to the cluster.
    pub entry: Entry,
}

/// Draws a cluster key.
pub fn draw_cluster_key() -> Result<ClusterKey, NoEntropy> {
    let bytes: [u8; quorumfence_drivers::secret::KEY_BYTES] = unguessable()?;
    Ok(ClusterKey::from_bytes(&bytes).expect("it has the length of a key"))
}

/// The directory of a controller.
#[derive(Debug, Clone)]
pub struct ControllerDirectory {
    root: PathBuf,
}

impl ControllerDirectory {
    /// Makes a controller's directory; refuses a place where anything of a member is.
    pub fn create(root: &Path, files: &ControllerFiles<'_>) -> Result<Self, Error> {
        refuse_occupied(root)?;
        let expected = Peer::Controller(files.description.controller);
        refuse_other_member(root, files.identity.peer(), expected)?;
        file::create_directory(root)?;
        let directory = Self { root: root.into() };
        files.identity.save(directory.identity_files().borrow()).map_err(|source| identity_error(root, source))?;
        file::create(&root.join(AUTHORITY_KEY), files.authority.key_pem().expose(), Readers::Owner)?;
        let cluster_key = hex::encode(files.cluster_key.expose()) + "\n";
        file::create(&root.join(CLUSTER_KEY), cluster_key.as_bytes(), Readers::Owner)?;
        match files.entry {
            Entry::Founds => file::create(&root.join(BOOTSTRAP), b"", Readers::Everyone)?,
            Entry::Joins => {}
        }
        write_description(root, files.description)?;
        Ok(directory)
    }

    /// Opens a controller's directory.
    pub fn open(root: &Path) -> Result<Self, Error> {
        require_member(root)?;
        Ok(Self { root: root.into() })
    }

    /// Returns who this controller is.
    pub fn description(&self) -> Result<ControllerDescription, Error> {
        read_toml(&self.root.join(IDENTITY))
    }

    /// Returns its key and certificate; refuses those of another member.
    pub fn identity(&self) -> Result<Identity, Error> {
        let expected = Peer::Controller(self.description()?.controller);
        load_identity(&self.root, &self.identity_files(), expected)
    }

    /// Puts a renewed certificate in the place of the old one; see [`Identity::renewal`].
    pub fn renew(&self, identity: &Identity) -> Result<(), Error> {
        let expected = Peer::Controller(self.description()?.controller);
        replace_identity(&self.root, &self.identity_files(), identity, expected)
    }

    /// Returns the cluster's authority.
    pub fn authority(&self) -> Result<Authority, Error> {
        let certificate = file::read(&self.root.join(AUTHORITY_CERTIFICATE))?;
        let key = Secret::new(file::read_private(&self.root.join(AUTHORITY_KEY))?);
        Authority::from_pem(&certificate, &key).map_err(|source| Error::Authority { path: self.root.clone(), source })
    }

    /// Returns the key that opens the sealed passwords in the log.
    pub fn cluster_key(&self) -> Result<ClusterKey, Error> {
        let path = self.root.join(CLUSTER_KEY);
        let bytes: Option<[u8; 32]> = hex::decode(file::read_private(&path)?.trim_end());
        let key = bytes.and_then(|bytes| ClusterKey::from_bytes(&bytes).ok());
        key.ok_or(Error::ClusterKey { path })
    }

    /// Returns where RocksDB lives.
    pub fn store(&self) -> PathBuf {
        self.root.join(STORE)
    }

    /// Returns whether this controller has still to initialise the log of a cluster that it founds.
    pub fn bootstrap_is_due(&self) -> bool {
        self.root.join(BOOTSTRAP).exists()
    }

    /// Records that the log is initialised; a later start with an empty store is then an error, not a beginning.
    pub fn bootstrap_is_done(&self) -> Result<(), Error> {
        Ok(file::remove(&self.root.join(BOOTSTRAP))?)
    }

    fn identity_files(&self) -> Paths {
        Paths::new(&self.root, NODE_CERTIFICATE, NODE_KEY)
    }
}

/// Keeps other agents out of a directory until it is dropped, or its process ends in whatever way.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

/// The directory of an agent.
#[derive(Debug, Clone)]
pub struct AgentDirectory {
    root: PathBuf,
}

impl AgentDirectory {
    /// Makes an agent's directory; refuses a place where anything of a member is.
    pub fn create(root: &Path, description: &AgentDescription, identity: &Identity) -> Result<Self, Error> {
        refuse_occupied(root)?;
        refuse_other_member(root, identity.peer(), Peer::Agent(description.host.clone()))?;
        file::create_directory(root)?;
        let directory = Self { root: root.into() };
        identity.save(directory.identity_files().borrow()).map_err(|source| identity_error(root, source))?;
        write_description(root, description)?;
        Ok(directory)
    }

    /// Opens an agent's directory.
    pub fn open(root: &Path) -> Result<Self, Error> {
        require_member(root)?;
        Ok(Self { root: root.into() })
    }

    /// Returns who this agent is.
    pub fn description(&self) -> Result<AgentDescription, Error> {
        read_toml(&self.root.join(IDENTITY))
    }

    /// Remembers where the controllers are, for the next start.
    pub fn remember(&self, at: LogIndex, controllers: &[ControllerAddress]) -> Result<(), Error> {
        let mut description = self.description()?;
        description.controllers = controllers.to_vec();
        description.controllers_at = at;
        description.controllers.sort();
        Ok(file::replace(&self.root.join(IDENTITY), to_toml(&description).as_bytes(), Readers::Everyone)?)
    }

    /// Takes the directory for this process: two agents of one host would each keep its own refusals and lose the other's.
    ///
    /// It is the directory itself that is locked, so this works on a disk that is full.
    pub fn lock(&self) -> Result<Lock, Error> {
        let locked = |source| Error::Lock { path: self.root.clone(), source };
        let directory = File::open(&self.root).map_err(locked)?;
        match directory.try_lock() {
            Ok(()) => Ok(Lock(directory)),
            Err(TryLockError::WouldBlock) => Err(Error::InUse { path: self.root.clone() }),
            Err(TryLockError::Error(source)) => Err(locked(source)),
        }
    }

    /// Opens the place for what this agent refuses in a boot, and returns what an earlier process refused in it.
    pub fn refusals(&self, boot: BootId) -> Result<(Refusals, Vec<Refused>), Error> {
        Ok(Refusals::open(self.root.join(REFUSALS), boot)?)
    }

    /// Returns its key and certificate; refuses those of another member.
    pub fn identity(&self) -> Result<Identity, Error> {
        let expected = Peer::Agent(self.description()?.host);
        load_identity(&self.root, &self.identity_files(), expected)
    }

    /// Puts a renewed certificate in the place of the old one; see [`Identity::renewal`].
    pub fn renew(&self, identity: &Identity) -> Result<(), Error> {
        let expected = Peer::Agent(self.description()?.host);
        replace_identity(&self.root, &self.identity_files(), identity, expected)
    }

    fn identity_files(&self) -> Paths {
        Paths::new(&self.root, AGENT_CERTIFICATE, AGENT_KEY)
    }
}

struct Paths {
    certificate: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Paths {
    fn new(root: &Path, certificate: &str, key: &str) -> Self {
        Self { certificate: root.join(certificate), key: root.join(key), authority: root.join(AUTHORITY_CERTIFICATE) }
    }

    fn borrow(&self) -> IdentityFiles<'_> {
        IdentityFiles { certificate: &self.certificate, key: &self.key, authority: &self.authority }
    }
}

fn refuse_occupied(root: &Path) -> Result<(), Error> {
    let all = [
        IDENTITY,
        AUTHORITY_CERTIFICATE,
        AUTHORITY_KEY,
        NODE_CERTIFICATE,
        NODE_KEY,
        AGENT_CERTIFICATE,
        AGENT_KEY,
        CLUSTER_KEY,
        BOOTSTRAP,
        STORE,
    ];
    match all.into_iter().find(|name| root.join(name).symlink_metadata().is_ok()) {
        Some(found) => Err(Error::Occupied { path: root.into(), found }),
        None => Ok(()),
    }
}

fn require_member(root: &Path) -> Result<(), Error> {
    if root.join(IDENTITY).is_file() { Ok(()) } else { Err(Error::NoMember { path: root.into() }) }
}

fn refuse_other_member(root: &Path, found: &Peer, expected: Peer) -> Result<(), Error> {
    if *found == expected {
        return Ok(());
    }
    Err(Error::OtherMember { path: root.into(), expected, found: found.clone() })
}

fn load_identity(root: &Path, paths: &Paths, expected: Peer) -> Result<Identity, Error> {
    let identity = Identity::load(paths.borrow()).map_err(|source| identity_error(root, source))?;
    refuse_other_member(root, identity.peer(), expected)?;
    Ok(identity)
}

/// Keeps the key and replaces the certificate: two files cannot be replaced in one step, and one of each would be none.
fn replace_identity(root: &Path, paths: &Paths, identity: &Identity, expected: Peer) -> Result<(), Error> {
    refuse_other_member(root, identity.peer(), expected.clone())?;
    if load_identity(root, paths, expected)?.key_pem() != identity.key_pem() {
        return Err(Error::OtherKey { path: root.into() });
    }
    file::replace(&paths.authority, identity.authority_pem().as_bytes(), Readers::Everyone)?;
    file::replace(&paths.certificate, identity.certificate_pem().as_bytes(), Readers::Everyone)?;
    Ok(())
}

fn identity_error(root: &Path, source: identity::Error) -> Error {
    // A file's error names its place itself.
    if let identity::Error::File(source) = source {
        return Error::File(source);
    }
    Error::Identity { path: root.into(), source }
}

fn write_description<T: Serialize>(root: &Path, description: &T) -> Result<(), Error> {
    Ok(file::create(&root.join(IDENTITY), to_toml(description).as_bytes(), Readers::Everyone)?)
}

fn to_toml<T: Serialize>(value: &T) -> String {
    toml::to_string(value).expect("descriptions have names, numbers and lists, which TOML has too")
}

fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    toml::from_str(&file::read(path)?).map_err(|source| Error::Toml { path: path.into(), source })
}
