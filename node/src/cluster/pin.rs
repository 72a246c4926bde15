//! The first contact: finds out whether an address belongs to the cluster that a join token names.
//!
//! The first connection trusts nobody, sends nothing but a handshake, and only looks at what the server shows. When the
//! authority in the server's chain has the token's hash, a second connection trusts that authority alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorumfence_machine::ControllerId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::ClientTlsConfig;

use super::authority::Fingerprint;
use super::identity::{self, HANDSHAKE_TIMEOUT, Peer};
use super::install_crypto;

/// Why an address was not accepted as the token's cluster. The token's secret was not sent in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers there.
    #[error("{address} cannot be reached; check the address, and that a controller runs there")]
    Unreachable {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody answers too slowly.
    #[error("{address} did not finish a TLS handshake within {} s; check the address, and that a controller runs there", limit.as_secs_f64())]
    TimedOut {
        /// The address.
        address: String,
        /// How long it had.
        limit: Duration,
    },
    /// Somebody answers who does not speak TLS as a controller does.
    #[error("{address} answered, but not as a controller does; check the port")]
    Handshake {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another cluster, or an impostor.
    #[error(
        "{address} belongs to the authority {found}, but the join token names {expected}; this is another cluster \
         or somebody between you and it, and the token's secret was not sent; compare the address and the token with \
         'quorumfence token create' on a controller that you trust"
    )]
    WrongAuthority {
        /// The address.
        address: String,
        /// What the token names.
        expected: Fingerprint,
        /// What the server showed last in its chain.
        found: Fingerprint,
    },
    /// The server named itself in a way that no controller does.
    #[error("{address} shows a certificate that is no controller's; check the address")]
    NotAController {
        /// The address.
        address: String,
        /// What is wrong with it, unless it names another kind of member.
        #[source]
        source: Option<identity::Error>,
    },
}

/// An address that showed the expected authority, and the controller that it claims to be.
///
/// The claim is proven by the connection that [`Pinned::client_tls`] makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The authority that the token names.
    pub authority: Fingerprint,
    /// Who the server says it is.
    pub controller: ControllerId,
    anchor: TrustAnchor<'static>,
}

impl Pinned {
    /// Returns TLS that trusts the pinned authority alone, only for this controller, and shows no certificate.
    pub fn client_tls(&self) -> ClientTlsConfig {
        install_crypto();
        ClientTlsConfig::new()
            .trust_anchor(self.anchor.clone())
            .domain_name(Peer::Controller(self.controller).dns_name())
            .timeout(HANDSHAKE_TIMEOUT)
    }
}

/// Fetches the authority that `address` (`host:port`) shows and compares it with the join token's, within `limit`.
pub async fn fetch_authority(address: &str, expected: Fingerprint, limit: Duration) -> Result<Pinned, Error> {
    match tokio::time::timeout(limit, look(address)).await {
        Ok(chain) => compare(address, &chain?, expected),
        Err(_) => Err(Error::TimedOut { address: address.into(), limit }),
    }
}

async fn look(address: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let onlooker = Arc::new(Onlooker { seen: Mutex::default(), provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites for both versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(onlooker.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];

    let unreachable = |source| Error::Unreachable { address: address.into(), source };
    let handshake = |source| Error::Handshake { address: address.into(), source };
    let socket = TcpStream::connect(address).await.map_err(unreachable)?;
    // The name is not looked at: the chain decides.
    let nobody = ServerName::try_from("controller").expect("it is a DNS name");
    TlsConnector::from(Arc::new(config)).connect(nobody, socket).await.map_err(handshake)?;
    let seen = onlooker.seen.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(seen.clone())
}

fn compare(address: &str, chain: &[CertificateDer<'static>], expected: Fingerprint) -> Result<Pinned, Error> {
    let not_a_controller = |source| Error::NotAController { address: address.into(), source };
    let (Some(leaf), Some(last)) = (chain.first(), chain.last()) else { return Err(not_a_controller(None)) };
    let Some(authority) = chain.iter().find(|certificate| Fingerprint::of_der(certificate) == expected) else {
        let found = Fingerprint::of_der(last);
        return Err(Error::WrongAuthority { address: address.into(), expected, found });
    };
    let controller = match Peer::from_certificate(leaf).map_err(|source| not_a_controller(Some(source)))? {
        Peer::Controller(id) => id,
        Peer::Agent(_) | Peer::Operator(_) => return Err(not_a_controller(None)),
    };
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).map_err(|_| not_a_controller(None))?;
    let anchor = roots.roots.pop().expect("one anchor was added").to_owned();
    Ok(Pinned { authority: expected, controller, anchor })
}

/// Lets every chain through and remembers it. MUST NOT be used for a connection that sends anything.
#[derive(Debug)]
struct Onlooker {
    seen: Mutex<Vec<CertificateDer<'static>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(leaf).chain(others).map(|certificate| certificate.clone().into_owned());
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = chain.collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
