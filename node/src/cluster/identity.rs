//! Who a member is: the name in its certificate, and the key that proves it.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quorumfence_drivers::secret::Secret;
use quorumfence_machine::{ControllerId, HostId};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use tonic::transport::{Certificate, ClientTlsConfig, ServerTlsConfig};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use super::authority::Fingerprint;
use super::file::{self, Readers};
use super::install_crypto;

/// A peer that does not finish its TLS handshake in this time is cut off: it holds a connection for nothing.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

const AGENT_SUFFIX: &str = ".agent";
const OPERATOR_SUFFIX: &str = ".operator";

/// Why an identity was not made, loaded or believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file was not read or written.
    #[error(transparent)]
    File(#[from] file::Error),
    /// Something is not a certificate.
    #[error("{what} is not a certificate")]
    NotACertificate {
        /// Which one.
        what: &'static str,
    },
    /// The private key cannot be read.
    #[error("the private key is not a key in PEM form")]
    NotAKey,
    /// The key does not belong to the certificate.
    #[error("the private key does not belong to the certificate; restore both files from the same copy")]
    KeyMismatch,
    /// A key or signing request could not be made.
    #[error("no key and signing request could be made")]
    Request(#[source] rcgen::Error),
    /// A certificate that speaks for nobody, or for several.
    #[error(
        "the certificate carries {count} names, but a member's carries exactly one; it was not signed for this cluster"
    )]
    NameCount {
        /// How many names it carries.
        count: usize,
    },
    /// A name that is no member's.
    #[error("'{name}' names no member; members are controller-<id>, <host>.agent and <name>.operator")]
    Name {
        /// The name.
        name: String,
    },
    /// A certificate for somebody else.
    #[error("the certificate is for {found}, not for {expected}; nothing was kept")]
    OtherPeer {
        /// Whom it should name.
        expected: Peer,
        /// Whom it names.
        found: Peer,
    },
    /// A CA that is not the one that was pinned.
    #[error(
        "the certificate came with the authority {found}, not with {expected}, which was compared before; nothing was kept"
    )]
    OtherAuthority {
        /// The pinned one.
        expected: Fingerprint,
        /// The one that came.
        found: Fingerprint,
    },
    /// The authority did not sign it, or its time is over.
    #[error("the certificate of {peer} is not valid under its authority; renew it, and check this machine's clock")]
    NotValid {
        /// Whom it names.
        peer: Peer,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// The clock stands before 1970.
    #[error("this machine's clock stands before 1970, so no certificate is valid; set the clock")]
    Clock,
}

/// A member of the cluster, as its certificate names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A controller.
    Controller(ControllerId),
    /// A host's agent.
    Agent(HostId),
    /// A person with a command line; the name follows the rules of host names.
    Operator(String),
}

impl Peer {
    /// Returns the one DNS name that this member's certificate carries.
    pub fn dns_name(&self) -> String {
        match self {
            Self::Controller(id) => id.to_string(),
            Self::Agent(host) => format!("{host}{AGENT_SUFFIX}"),
            Self::Operator(name) => format!("{name}{OPERATOR_SUFFIX}"),
        }
    }

    /// Returns the member that a certificate in DER form names. Says nothing about who signed it.
    pub fn from_certificate(der: &[u8]) -> Result<Self, Error> {
        let parsed = x509_parser::parse_x509_certificate(der);
        let (_, certificate) = parsed.map_err(|_| Error::NotACertificate { what: "what the peer sent" })?;
        single_name(&certificate)?.parse()
    }

    /// Returns the caller of a request, or nothing when it showed no certificate (somebody who joins).
    ///
    /// TLS has checked the certificate's signature and dates before the request came here.
    pub fn of_request<T>(request: &tonic::Request<T>) -> Result<Option<Self>, Error> {
        let Some(chain) = request.peer_certs() else { return Ok(None) };
        let Some(certificate) = chain.first() else { return Ok(None) };
        Self::from_certificate(certificate).map(Some)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.dns_name())
    }
}

impl FromStr for Peer {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::Name { name: text.into() };
        let peer = if let Some(host) = text.strip_suffix(AGENT_SUFFIX) {
            Self::Agent(host.parse().map_err(|_| unknown())?)
        } else if let Some(name) = text.strip_suffix(OPERATOR_SUFFIX) {
            let name: HostId = name.parse().map_err(|_| unknown())?;
            Self::Operator(name.into())
        } else {
            Self::Controller(text.parse().map_err(|_| unknown())?)
        };
        // "controller-07" and "7" are numbers too, but no names: one member has one name.
        if peer.dns_name() == text { Ok(peer) } else { Err(unknown()) }
    }
}

fn single_name<'a>(certificate: &X509Certificate<'a>) -> Result<&'a str, Error> {
    let extension = certificate.subject_alternative_name();
    let extension = extension.map_err(|_| Error::NotACertificate { what: "what the peer sent" })?;
    let names = extension.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
    let [name] = names else { return Err(Error::NameCount { count: names.len() }) };
    if let GeneralName::DNSName(name) = name { Ok(name) } else { Err(Error::Name { name: name.to_string() }) }
}

/// A key that waits for its certificate.
#[derive(Debug)]
pub struct PendingIdentity {
    key: Secret,
    request: String,
}

impl PendingIdentity {
    /// Makes a key and its signing request. The request asks for no name: the authority decides.
    pub fn generate() -> Result<Self, Error> {
        Self::of_key(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::Request)?)
    }

    fn of_key(key: &KeyPair) -> Result<Self, Error> {
        let request = CertificateParams::default().serialize_request(key).and_then(|request| request.pem());
        Ok(Self { request: request.map_err(Error::Request)?, key: Secret::new(key.serialize_pem()) })
    }

    /// Returns the signing request in PEM form.
    pub fn request_pem(&self) -> &str {
        &self.request
    }

    /// Takes the certificate that the cluster sent, and refuses one for somebody else, of another authority than
    /// the pinned one, for another key, or out of date.
    pub fn complete(self, reply: &SignedCertificate<'_>, expected: &Peer, now: SystemTime) -> Result<Identity, Error> {
        let not_ours = |_| Error::NotACertificate { what: "the authority" };
        let found = Fingerprint::of_pem(reply.authority_pem).map_err(not_ours)?;
        if found != reply.pinned {
            return Err(Error::OtherAuthority { expected: reply.pinned, found });
        }
        let identity = Identity::from_pem(reply.certificate_pem, self.key, reply.authority_pem)?;
        if identity.peer() != expected {
            return Err(Error::OtherPeer { expected: expected.clone(), found: identity.peer });
        }
        identity.verify(now)?;
        Ok(identity)
    }
}

/// What the cluster sends back for a signing request, with the authority that the joiner pinned.
#[derive(Debug, Clone, Copy)]
pub struct SignedCertificate<'a> {
    /// The member's certificate.
    pub certificate_pem: &'a str,
    /// The authority that signed it.
    pub authority_pem: &'a str,
    /// The authority that the join token named.
    pub pinned: Fingerprint,
}

/// A member's key, certificate and authority. The key belongs to the certificate; Debug shows no key.
#[derive(Debug, Clone)]
pub struct Identity {
    peer: Peer,
    certificate: String,
    key: Secret,
    authority: String,
}

/// Where an identity's three files are.
#[derive(Debug, Clone, Copy)]
pub struct IdentityFiles<'a> {
    /// The member's certificate.
    pub certificate: &'a Path,
    /// Its key, readable by its owner alone.
    pub key: &'a Path,
    /// The authority's certificate.
    pub authority: &'a Path,
}

impl Identity {
    /// Returns the identity of three PEM texts; refuses a key that is not the certificate's.
    pub fn from_pem(certificate: &str, key: Secret, authority: &str) -> Result<Self, Error> {
        let leaf = der(certificate, "the member's certificate")?;
        der(authority, "the authority")?;
        let private = PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| Error::NotAKey)?;
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(vec![leaf.clone()], private, &provider).map_err(|_| Error::KeyMismatch)?;
        let peer = Peer::from_certificate(&leaf)?;
        Ok(Self { peer, certificate: certificate.into(), key, authority: authority.into() })
    }

    /// Reads an identity; refuses a key file that others can read.
    pub fn load(files: IdentityFiles<'_>) -> Result<Self, Error> {
        let key = Secret::new(file::read_private(files.key)?);
        Self::from_pem(&file::read(files.certificate)?, key, &file::read(files.authority)?)
    }

    /// Writes an identity where none is.
    pub fn save(&self, files: IdentityFiles<'_>) -> Result<(), Error> {
        file::create(files.authority, self.authority.as_bytes(), Readers::Everyone)?;
        file::create(files.key, self.key.expose(), Readers::Owner)?;
        file::create(files.certificate, self.certificate.as_bytes(), Readers::Everyone)?;
        Ok(())
    }

    /// Returns the member whom this identity proves.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Returns the certificate in PEM form.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// Returns the authority's certificate in PEM form.
    pub fn authority_pem(&self) -> &str {
        &self.authority
    }

    /// Returns the key in PEM form.
    pub fn key_pem(&self) -> &Secret {
        &self.key
    }

    /// Fails unless the authority signed the certificate and `now` is within its dates.
    pub fn verify(&self, now: SystemTime) -> Result<(), Error> {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| Error::Clock)?;
        let not_valid = |source| Error::NotValid { peer: self.peer.clone(), source };
        let mut roots = RootCertStore::empty();
        roots.add(der(&self.authority, "the authority")?).map_err(not_valid)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let verifier = verifier.map_err(|_| Error::NotACertificate { what: "the authority" })?;
        let leaf = der(&self.certificate, "the member's certificate")?;
        verifier.verify_client_cert(&leaf, &[], UnixTime::since_unix_epoch(since_epoch)).map_err(not_valid)?;
        Ok(())
    }

    /// Returns a signing request for the key that this identity has.
    pub fn renewal(&self) -> Result<PendingIdentity, Error> {
        let key = std::str::from_utf8(self.key.expose()).map_err(|_| Error::NotAKey)?;
        let mut pending = PendingIdentity::of_key(&KeyPair::from_pem(key).map_err(Error::Request)?)?;
        pending.key = self.key.clone();
        Ok(pending)
    }

    /// Returns whether two thirds of the certificate's life are over, so that it is to be renewed.
    pub fn renewal_is_due(&self, now: SystemTime) -> Result<bool, Error> {
        let leaf = der(&self.certificate, "the member's certificate")?;
        let parsed = x509_parser::parse_x509_certificate(&leaf);
        let (_, parsed) = parsed.map_err(|_| Error::NotACertificate { what: "the member's certificate" })?;
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| Error::Clock)?;
        let from = parsed.validity().not_before.timestamp();
        let life = parsed.validity().not_after.timestamp() - from;
        Ok(i64::try_from(since_epoch.as_secs()).map_err(|_| Error::Clock)? >= from + life / 3 * 2)
    }

    /// Returns the server side of mutual TLS.
    ///
    /// A peer without a certificate gets through the handshake, because somebody who joins has none yet. Handlers
    /// MUST ask [`Peer::of_request`] who calls. The authority is sent with the certificate, for [`super::pin`].
    pub fn server_tls(&self) -> ServerTlsConfig {
        install_crypto();
        ServerTlsConfig::new()
            .identity(tonic::transport::Identity::from_pem(self.chain(), self.key.expose()))
            .client_ca_root(Certificate::from_pem(&self.authority))
            .client_auth_optional(true)
            .timeout(HANDSHAKE_TIMEOUT)
    }

    /// Returns the client side of mutual TLS, for a connection to one member only: whoever else answers at its
    /// address is refused in the handshake.
    pub fn client_tls(&self, addressed: &Peer) -> ClientTlsConfig {
        install_crypto();
        ClientTlsConfig::new()
            .identity(tonic::transport::Identity::from_pem(&self.certificate, self.key.expose()))
            .ca_certificate(Certificate::from_pem(&self.authority))
            .domain_name(addressed.dns_name())
            .timeout(HANDSHAKE_TIMEOUT)
    }

    fn chain(&self) -> String {
        format!("{}\n{}", self.certificate.trim_end(), self.authority)
    }
}

fn der(pem: &str, what: &'static str) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| Error::NotACertificate { what })
}
