//! Secrets in memory, and sealed at rest with the cluster key.
//!
//! A sealed secret is bound to its purpose: the password of one host's BMC cannot be opened as another's, even by
//! somebody who can move sealed bytes around. Chance is passed in, because a seed must repeat a simulated run.

use std::fmt;
use std::net::SocketAddr;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use quorumfence_machine::HostId;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of the cluster key.
pub const KEY_BYTES: usize = 32;

/// Length of the nonce that [`ClusterKey::seal`] takes. Drawn at random it never meets itself again.
pub const NONCE_BYTES: usize = 24;

/// First byte of sealed secrets: XChaCha20-Poly1305, then the nonce, then ciphertext and tag.
const FORMAT: u8 = 1;

/// A password or key. Its Debug says nothing, its memory is overwritten when it goes, and it compares in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps secret bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Returns the bytes. Callers MUST NOT log, format or store them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The key that seals a cluster's secrets. Each controller keeps it in a file of its own, outside log and snapshots.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ClusterKey([u8; KEY_BYTES]);

/// What a sealed secret is for. It is opened only for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose<'a> {
    /// The host that the device can switch off.
    pub host: &'a HostId,
    /// The device's address.
    pub address: SocketAddr,
    /// Which of the device's secrets.
    pub part: SecretPart,
}

/// Which secret of a fencing device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretPart {
    /// The account's password.
    Password,
    /// The BMC key (Kg).
    Kg,
}

/// A secret as it rests on disk: only the cluster key opens it, and only for the purpose that it was sealed for.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SealedSecret(pub Vec<u8>);

/// Why a secret could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key file is not a cluster key.
    #[error("a cluster key has {KEY_BYTES} bytes, this one has {bytes}")]
    KeyLength {
        /// What was given.
        bytes: usize,
    },
    /// The bytes were not written by this version.
    #[error("the sealed secret's format is unknown; it was written by another version, or damaged")]
    Format,
    /// The tag does not fit.
    #[error(
        "the sealed secret does not open: it belongs to another cluster key, host, address or part, or it was changed"
    )]
    Closed,
    /// The secret is longer than the cipher can take, which is 256 GiB.
    #[error("the secret is too long to seal")]
    TooLong,
}

impl ClusterKey {
    /// Takes a key from the bytes of its file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        bytes.try_into().map(Self).map_err(|_| Error::KeyLength { bytes: bytes.len() })
    }

    /// Returns the bytes for the key's file. Callers MUST NOT log or format them.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Seals a secret for one purpose. The nonce MUST be drawn at random for each call.
    pub fn seal(
        &self,
        purpose: &Purpose<'_>,
        secret: &Secret,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<SealedSecret, Error> {
        let payload = Payload { msg: secret.expose(), aad: &purpose.associated_data() };
        let sealed = self.cipher().encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| Error::TooLong)?;
        Ok(SealedSecret([&[FORMAT], &nonce[..], &sealed].concat()))
    }

    /// Opens a secret that was sealed for the same purpose.
    pub fn open(&self, purpose: &Purpose<'_>, sealed: &SealedSecret) -> Result<Secret, Error> {
        let [FORMAT, rest @ ..] = sealed.0.as_slice() else { return Err(Error::Format) };
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES).ok_or(Error::Format)?;
        let payload = Payload { msg: sealed, aad: &purpose.associated_data() };
        self.cipher().decrypt(XNonce::from_slice(nonce), payload).map(Secret::new).map_err(|_| Error::Closed)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

impl Purpose<'_> {
    /// Names and addresses hold no spaces, so two purposes never read the same.
    fn associated_data(&self) -> Vec<u8> {
        let part = match self.part {
            SecretPart::Password => "password",
            SecretPart::Kg => "kg",
        };
        format!("quorumfence device secret {} {} {part}", self.host, self.address).into_bytes()
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(…)")
    }
}

impl fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedSecret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests;
