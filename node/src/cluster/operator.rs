//! What an operator's command line needs to reach a cluster: one secret file with everything in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{ClusterId, ControllerId};
use serde::{Deserialize, Serialize};

use super::directory::ControllerAddress;
use super::file::{self, Readers};
use super::identity::{self, Identity};

/// The environment variable that names another context file.
pub const CONTEXT_VARIABLE: &str = "QUORUMFENCE_CONTEXT";

const DEFAULT_PLACE: &str = ".config/quorumfence/operator.toml";

/// Why a context was not found, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no place to look.
    #[error(
        "neither {CONTEXT_VARIABLE} nor HOME is set, so there is no operator context; set {CONTEXT_VARIABLE} to its file"
    )]
    NoPlace,
    /// The file was not read or written.
    #[error(
        "the operator context cannot be used; get one with 'quorumfence cluster init', or name it in {CONTEXT_VARIABLE}"
    )]
    File(#[from] file::Error),
    /// The file has a mistake.
    #[error("{} is no operator context", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The mistake.
        #[source]
        source: toml::de::Error,
    },
    /// Its certificate or key is unusable.
    #[error("{} holds no usable identity", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: identity::Error,
    },
}

/// A cluster as an operator reaches it.
#[derive(Debug, Clone)]
pub struct Context {
    /// The cluster's name, for people.
    pub cluster_name: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// The operator's key, certificate and authority.
    pub identity: Identity,
    /// The controllers' addresses.
    pub controllers: BTreeMap<ControllerId, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    cluster_name: String,
    cluster: ClusterId,
    ca: String,
    certificate: String,
    key: String,
    controllers: Vec<ControllerAddress>,
}

impl Context {
    /// Reads a context; refuses a file that others can read, because the key is in it.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = Secret::new(file::read_private(path)?);
        let text = std::str::from_utf8(text.expose()).expect("it was read as text");
        let stored: Stored = toml::from_str(text).map_err(|mut source| {
            // The mistake's surroundings could be the key.
            source.set_input(None);
            Error::Toml { path: path.into(), source }
        })?;
        let identity = Identity::from_pem(&stored.certificate, Secret::new(stored.key), &stored.ca);
        let identity = identity.map_err(|source| Error::Identity { path: path.into(), source })?;
        let controllers =
            stored.controllers.into_iter().map(|controller| (controller.id, controller.address)).collect();
        Ok(Self { cluster_name: stored.cluster_name, cluster: stored.cluster, identity, controllers })
    }

    /// Writes a context where none is.
    pub fn create(&self, path: &Path) -> Result<(), Error> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            file::create_directory(parent)?;
        }
        Ok(file::create(path, self.to_toml().expose(), Readers::Owner)?)
    }

    /// Writes a context over the one that is there, such as after a renewal or a new controller.
    pub fn replace(&self, path: &Path) -> Result<(), Error> {
        Ok(file::replace(path, self.to_toml().expose(), Readers::Owner)?)
    }

    fn to_toml(&self) -> Secret {
        let key = std::str::from_utf8(self.identity.key_pem().expose()).expect("a key in PEM form is text");
        let controllers = self.controllers.iter();
        let stored = Stored {
            cluster_name: self.cluster_name.clone(),
            cluster: self.cluster,
            ca: self.identity.authority_pem().into(),
            certificate: self.identity.certificate_pem().into(),
            key: key.into(),
            controllers: controllers
                .map(|(id, address)| ControllerAddress { id: *id, address: address.clone() })
                .collect(),
        };
        Secret::new(toml::to_string(&stored).expect("a context has texts and lists, which TOML has too"))
    }
}

/// Returns where the context is: `$QUORUMFENCE_CONTEXT`, or below the home directory.
pub fn default_path() -> Result<PathBuf, Error> {
    place(std::env::var_os(CONTEXT_VARIABLE), std::env::var_os("HOME"))
}

fn place(context: Option<OsString>, home: Option<OsString>) -> Result<PathBuf, Error> {
    let set = |value: Option<OsString>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
    set(context).or_else(|| set(home).map(|home| home.join(DEFAULT_PLACE))).ok_or(Error::NoPlace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_names_the_context_before_the_home_directory_does() {
        let check = |context: Option<&str>, home: Option<&str>, expect: Option<&str>| {
            let found = place(context.map(OsString::from), home.map(OsString::from)).ok();
            assert_eq!(found, expect.map(PathBuf::from), "{context:?} {home:?}");
        };
        check(Some("/a/b.toml"), Some("/home/o"), Some("/a/b.toml"));
        check(Some(""), Some("/home/o"), Some("/home/o/.config/quorumfence/operator.toml"));
        check(None, Some("/home/o"), Some("/home/o/.config/quorumfence/operator.toml"));
        check(None, None, None);
    }
}
