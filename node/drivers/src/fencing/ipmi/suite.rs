//! Cipher suites: the two that authenticate, protect integrity and encrypt (IPMI 2.0, table 22-20).

use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

/// A cipher suite that this driver speaks. Suite 0 and all others are deliberately absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128: what every IPMI 2.0 BMC must have.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

/// AES-CBC-128 (table 13-19).
pub(super) const AES_CBC_128: u8 = 0x01;

impl Suite {
    /// Returns the suite of that number, if it is one of ours.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            3 => Some(Self::Three),
            17 => Some(Self::Seventeen),
            _ => None,
        }
    }

    /// Returns the suite's number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Seventeen => 17,
        }
    }

    /// Authentication algorithm (table 13-17).
    pub(super) const fn authentication(self) -> u8 {
        match self {
            Self::Three => 0x01,
            Self::Seventeen => 0x03,
        }
    }

    /// Integrity algorithm (table 13-18).
    pub(super) const fn integrity(self) -> u8 {
        match self {
            Self::Three => 0x01,
            Self::Seventeen => 0x04,
        }
    }

    /// Length of a full authentication code, as RAKP 2 and 3 carry it.
    pub(super) const fn code_bytes(self) -> usize {
        match self {
            Self::Three => 20,
            Self::Seventeen => 32,
        }
    }

    /// Length of a truncated code, as RAKP 4 and every packet of a session carry it.
    pub(super) const fn tag_bytes(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }

    /// Returns the full code of the parts, one after the other.
    pub(super) fn code(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Three => code_with::<Hmac<Sha1>>(key, parts),
            Self::Seventeen => code_with::<Hmac<Sha256>>(key, parts),
        }
    }
}

fn code_with<M: Mac + hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut mac = <M as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}
