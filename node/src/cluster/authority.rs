//! The cluster's certificate authority: it alone says which name a certificate carries.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use quorumfence_drivers::secret::Secret;
use quorumfence_machine::ClusterId;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, DnsName};
use sha2::{Digest, Sha256};

use super::identity::Peer;
use super::{NoEntropy, hex, unguessable};

/// How long the authority's own certificate is valid: changing it touches every member, so it is rare.
pub const AUTHORITY_LIFE: Duration = days(3650);

/// How long a member's certificate is valid: long, because nothing renews it, and a cluster whose members all stop
/// trusting each other on one day protects nobody.
pub const MEMBER_LIFE: Duration = days(730);

/// A certificate is valid from a little before it was signed, because the members' clocks differ.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(10 * 60);

/// A signing request is one public key and one signature; more is a mistake or an attack.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Why the authority could not be made, loaded, or made to sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key could not be made or read.
    #[error("{what} is unusable")]
    Certificate {
        /// Which one.
        what: &'static str,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A PEM text holds no certificate.
    #[error("{what} is not a certificate in PEM form")]
    Pem {
        /// Which text.
        what: &'static str,
    },
    /// The key does not belong to the certificate.
    #[error("the authority's key does not belong to its certificate; restore both files from the same copy")]
    KeyMismatch,
    /// The signing request is too large.
    #[error("the signing request has {bytes} bytes, more than {REQUEST_BYTES_MAX}")]
    RequestSize {
        /// Its size.
        bytes: usize,
    },
    /// The signing request's key is of another kind than ours.
    #[error("the signing request's key is not ECDSA P-256; make the request with this program")]
    RequestKey,
    /// The member's name cannot stand in a certificate.
    #[error("'{name}' cannot stand in a certificate because it is no DNS name; choose another name")]
    Name {
        /// The DNS name that the certificate would carry.
        name: String,
    },
    /// The clock stands before 1970.
    #[error("this machine's clock stands before 1970, so no certificate would be valid; set the clock")]
    Clock,
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// The SHA-256 of an authority's certificate: what a join token carries, and what a person compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Returns the fingerprint of a certificate in DER form.
    pub fn of_der(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }

    /// Returns the fingerprint of the first certificate in a PEM text.
    pub fn of_pem(certificate: &str) -> Result<Self, Error> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes());
        der.map(|der| Self::of_der(&der)).map_err(|_| Error::Pem { what: "the authority" })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(&self.0))
    }
}

/// The text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a SHA-256 in 64 lower-case hexadecimal digits")]
pub struct FingerprintError {
    text: String,
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        hex::decode(text).map(Self).ok_or_else(|| FingerprintError { text: text.into() })
    }
}

/// The authority with its private key. Its Debug shows no key.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    fingerprint: Fingerprint,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes the authority of a cluster, valid for [`AUTHORITY_LIFE`].
    pub fn create(cluster: &ClusterId, now: SystemTime) -> Result<Self, Error> {
        let unusable = |source| Error::Certificate { what: "the authority", source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unusable)?;
        let mut params = params(&format!("quorumfence cluster {cluster}"), now, AUTHORITY_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(unusable)?;
        let fingerprint = Fingerprint::of_der(certificate.der());
        Ok(Self { certificate: certificate.pem(), fingerprint, issuer: Issuer::new(params, key) })
    }

    /// Loads an authority and refuses a key that is not the certificate's.
    pub fn from_pem(certificate: &str, key: &Secret) -> Result<Self, Error> {
        let unusable = |source| Error::Certificate { what: "the authority", source };
        let key = std::str::from_utf8(key.expose()).map_err(|_| Error::Pem { what: "the authority's key" })?;
        let key =
            KeyPair::from_pem(key).map_err(|source| Error::Certificate { what: "the authority's key", source })?;
        let der = CertificateDer::from_pem_slice(certificate.as_bytes());
        let der = der.map_err(|_| Error::Pem { what: "the authority" })?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&der).map_err(|_| Error::Pem { what: "the authority" })?;
        if *parsed.public_key().subject_public_key.data != *key.public_key_raw() {
            return Err(Error::KeyMismatch);
        }
        let fingerprint = Fingerprint::of_der(&der);
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(unusable)?;
        Ok(Self { certificate: certificate.into(), fingerprint, issuer })
    }

    /// Returns the certificate that every member trusts.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// Returns the private key; whoever has it can make members.
    pub fn key_pem(&self) -> Secret {
        Secret::new(self.issuer.key().serialize_pem())
    }

    /// Returns the hash that join tokens carry.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns a certificate in PEM form for the request's key, valid for [`MEMBER_LIFE`].
    ///
    /// Name, usage and dates are the authority's; whatever else the request asks for is dropped.
    pub fn sign(&self, request_pem: &str, peer: &Peer, now: SystemTime) -> Result<String, Error> {
        if request_pem.len() > REQUEST_BYTES_MAX {
            return Err(Error::RequestSize { bytes: request_pem.len() });
        }
        let request = CertificateSigningRequestParams::from_pem(request_pem)
            .map_err(|source| Error::Certificate { what: "the signing request", source })?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(Error::RequestKey);
        }
        let name = peer.dns_name();
        let unusable_name = || Error::Name { name: name.clone() };
        DnsName::try_from(name.as_str()).map_err(|_| unusable_name())?;

        let mut params = params(&name, now, MEMBER_LIFE)?;
        params.subject_alt_names = vec![SanType::DnsName(name.clone().try_into().map_err(|_| unusable_name())?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match peer {
            Peer::Controller(_) | Peer::Agent(_) => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Peer::Operator(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&request.public_key, &self.issuer);
        certificate
            .map(|certificate| certificate.pem())
            .map_err(|source| Error::Certificate { what: "the member's certificate", source })
    }
}

fn params(common_name: &str, now: SystemTime, life: Duration) -> Result<CertificateParams, Error> {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| Error::Clock)?;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut serial: [u8; 16] = unguessable()?;
    // A serial number is a positive integer of full length.
    serial[0] = serial[0] & 0x7f | 0x40;

    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(serial.to_vec().into());
    params.not_before = epoch + since_epoch.saturating_sub(CLOCK_SKEW_MAX);
    params.not_after = epoch + since_epoch + life;
    Ok(params)
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}
