//! Keys and codes of RMCP+ (IPMI 2.0, sections 13.28 to 13.33), as the BMC computes them.
//!
//! Written from the specification and not from the product's driver: two that share a mistake would understand each
//! other.

use aes::Aes128;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

const BLOCK_BYTES: usize = 16;

/// The bytes that K1 and K2 are made of, repeated; 20 of them with every hash.
const CONSTANT_BYTES: usize = 20;

/// A cipher suite with authentication, integrity and encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suite {
    /// RAKP-HMAC-SHA1, HMAC-SHA1-96, AES-CBC-128.
    Three,
    /// RAKP-HMAC-SHA256, HMAC-SHA256-128, AES-CBC-128.
    Seventeen,
}

impl Suite {
    pub(super) const ALL: [Self; 2] = [Self::Three, Self::Seventeen];

    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Three => 3,
            Self::Seventeen => 17,
        }
    }

    /// Authentication, integrity and confidentiality (tables 13-17 to 13-19).
    pub(super) const fn algorithms(self) -> [u8; 3] {
        match self {
            Self::Three => [0x01, 0x01, 0x01],
            Self::Seventeen => [0x03, 0x04, 0x01],
        }
    }

    /// Length of the code in RAKP 4 and in each sealed packet.
    pub(super) const fn tag_bytes(self) -> usize {
        match self {
            Self::Three => 12,
            Self::Seventeen => 16,
        }
    }

    fn code(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Three => code_with::<Hmac<Sha1>>(key, parts),
            Self::Seventeen => code_with::<Hmac<Sha256>>(key, parts),
        }
    }
}

fn code_with<M: Mac + hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = <M as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// What both sides have told each other by RAKP 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handshake {
    pub(super) suite: Suite,
    /// The session as the console names it.
    pub(super) console: u32,
    /// The session as the BMC names it.
    pub(super) bmc: u32,
    pub(super) console_challenge: [u8; 16],
    pub(super) bmc_challenge: [u8; 16],
    pub(super) guid: [u8; 16],
    /// The whole byte: level and kind of lookup.
    pub(super) role: u8,
    pub(super) user: Vec<u8>,
}

impl Handshake {
    /// Returns the BMC's proof that it knows the password, for RAKP 2.
    pub(super) fn proof_of_bmc(&self, password: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 7] = [
            &self.console.to_le_bytes(),
            &self.bmc.to_le_bytes(),
            &self.console_challenge,
            &self.bmc_challenge,
            &self.guid,
            &self.role_and_length(),
            &self.user,
        ];
        self.suite.code(password, &parts)
    }

    /// Returns whether RAKP 3 proves that the console knows the password.
    pub(super) fn is_proven_by(&self, proof: &[u8], password: &[u8]) -> bool {
        let parts: [&[u8]; 4] = [&self.bmc_challenge, &self.console.to_le_bytes(), &self.role_and_length(), &self.user];
        bool::from(self.suite.code(password, &parts).ct_eq(proof))
    }

    /// Returns the session's keys. `secret` is Kg, or the password where none is set.
    pub(super) fn keys(&self, secret: &[u8]) -> Keys {
        let parts: [&[u8]; 4] = [&self.console_challenge, &self.bmc_challenge, &self.role_and_length(), &self.user];
        let session = self.suite.code(secret, &parts);
        let second = self.suite.code(&session, &[&[2; CONSTANT_BYTES]]);
        let mut confirmation =
            self.suite.code(&session, &[&self.console_challenge, &self.bmc.to_le_bytes(), &self.guid]);
        confirmation.truncate(self.suite.tag_bytes());
        Keys {
            suite: self.suite,
            integrity: self.suite.code(&session, &[&[1; CONSTANT_BYTES]]),
            encryption: *second.first_chunk().expect("a code has at least 20 bytes"),
            confirmation,
        }
    }

    fn role_and_length(&self) -> [u8; 2] {
        [self.role, u8::try_from(self.user.len()).expect("the name's length came in one byte")]
    }
}

/// The keys of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) suite: Suite,
    integrity: Vec<u8>,
    encryption: [u8; BLOCK_BYTES],
    /// The proof in RAKP 4.
    pub(super) confirmation: Vec<u8>,
}

impl Keys {
    pub(super) fn tag(&self, packet: &[u8]) -> Vec<u8> {
        let mut code = self.suite.code(&self.integrity, &[packet]);
        code.truncate(self.suite.tag_bytes());
        code
    }

    pub(super) fn is_tag_of(&self, tag: &[u8], packet: &[u8]) -> bool {
        bool::from(self.tag(packet).ct_eq(tag))
    }

    /// Returns the vector and the encrypted message, padded with 1, 2, 3 and so on and a count.
    pub(super) fn encrypt(&self, vector: [u8; BLOCK_BYTES], message: &[u8]) -> Vec<u8> {
        let padding = (BLOCK_BYTES - (message.len() + 1) % BLOCK_BYTES) % BLOCK_BYTES;
        let padding = u8::try_from(padding).expect("less than a block");
        let mut text = message.to_vec();
        text.extend((1..=padding).chain([padding]));
        let length = text.len();
        cbc::Encryptor::<Aes128>::new(&self.encryption.into(), &vector.into())
            .encrypt_padded_mut::<NoPadding>(&mut text, length)
            .expect("the text was padded to whole blocks");
        [vector.as_slice(), &text].concat()
    }

    pub(super) fn decrypt(&self, payload: &[u8]) -> Option<Vec<u8>> {
        let (vector, encrypted) = payload.split_first_chunk::<BLOCK_BYTES>()?;
        let mut text = encrypted.to_vec();
        cbc::Decryptor::<Aes128>::new(&self.encryption.into(), vector.into())
            .decrypt_padded_mut::<NoPadding>(&mut text)
            .ok()?;
        let padding = usize::from(*text.last()?);
        text.truncate(text.len().checked_sub(1 + padding)?);
        (padding < BLOCK_BYTES).then_some(text)
    }
}
