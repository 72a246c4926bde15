//! RMCP+ packets (IPMI 2.0, section 13.6): plain ones of the handshake, sealed ones of a session, and the replay window.
//!
//! Pure functions of bytes. Whatever does not check out is `None`: it is not ours, and nobody learns why.

use aes::Aes128;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::suite::Suite;

/// RMCP version 1.0, reserved, no acknowledge, class IPMI.
const RMCP_HEADER: [u8; 4] = [0x06, 0x00, 0xff, 0x07];

/// The session header's format: RMCP+.
const RMCP_PLUS: u8 = 0x06;

/// An IPMI message, encrypted and authenticated. Nothing else is accepted inside a session.
const SEALED_MESSAGE: u8 = 0xc0;

/// The byte before the code that ends a sealed packet.
const NEXT_HEADER: u8 = 0x07;

/// RMCP header, then format, payload type, session, sequence and payload length.
const HEADER_BYTES: usize = 16;

const BLOCK_BYTES: usize = 16;

/// Payload types of the handshake (table 13-16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Payload {
    OpenSessionRequest = 0x10,
    OpenSessionResponse = 0x11,
    Rakp1 = 0x12,
    Rakp2 = 0x13,
    Rakp3 = 0x14,
    Rakp4 = 0x15,
}

/// Writes a packet of the handshake: no session yet, nothing sealed.
pub(super) fn plain(payload: Payload, body: &[u8]) -> Vec<u8> {
    let mut bytes = RMCP_HEADER.to_vec();
    bytes.extend([RMCP_PLUS, payload as u8]);
    bytes.extend([0; 8]);
    bytes.extend(length_field(body));
    bytes.extend(body);
    bytes
}

/// Returns the body of a packet of the handshake, if it is one of that kind.
pub(super) fn parse_plain(bytes: &[u8], payload: Payload) -> Option<&[u8]> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let expected = is_rmcp(header) && header[4] == RMCP_PLUS && header[5] == payload as u8;
    let length = usize::from(u16::from_le_bytes([header[14], header[15]]));
    expected.then(|| rest.get(..length)).flatten()
}

/// What seals one session's packets, both ways.
pub(super) struct Seal {
    pub(super) suite: Suite,
    /// K1 of RAKP: authenticates.
    pub(super) integrity_key: Zeroizing<Vec<u8>>,
    /// The first half of K2 of RAKP: encrypts.
    pub(super) encryption_key: Zeroizing<[u8; 16]>,
    /// The session as we named it; the BMC's packets carry this.
    pub(super) ours: u32,
    /// The session as the BMC named it; our packets carry this.
    pub(super) theirs: u32,
}

/// What a sealed packet held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) sequence: u32,
    pub(super) message: Vec<u8>,
}

impl Seal {
    /// Encrypts a message and authenticates the packet around it. The vector MUST be drawn at random.
    pub(super) fn close(&self, sequence: u32, vector: [u8; BLOCK_BYTES], message: &[u8]) -> Vec<u8> {
        self.close_as(self.theirs, sequence, vector, message)
    }

    fn close_as(&self, session: u32, sequence: u32, vector: [u8; BLOCK_BYTES], message: &[u8]) -> Vec<u8> {
        let payload = [vector.as_slice(), &self.encrypt(vector, message)].concat();
        let mut bytes = RMCP_HEADER.to_vec();
        bytes.extend([RMCP_PLUS, SEALED_MESSAGE]);
        bytes.extend(session.to_le_bytes());
        bytes.extend(sequence.to_le_bytes());
        bytes.extend(length_field(&payload));
        bytes.extend(payload);
        // What is authenticated, padding and its two closing bytes included, is a multiple of four.
        let padding = pad_count(bytes.len() - RMCP_HEADER.len() + 2, 4);
        bytes.extend(std::iter::repeat_n(0xff, usize::from(padding)));
        bytes.extend([padding, NEXT_HEADER]);
        let code = self.suite.code(&self.integrity_key, &[&bytes[RMCP_HEADER.len()..]]);
        bytes.extend(&code[..self.suite.tag_bytes()]);
        bytes
    }

    /// Opens a packet of the BMC: first its code, then its session, then its payload.
    pub(super) fn open(&self, bytes: &[u8]) -> Option<Opened> {
        let (packet, tag) = bytes.split_at_checked(bytes.len().checked_sub(self.suite.tag_bytes())?)?;
        let (header, rest) = packet.split_first_chunk::<HEADER_BYTES>()?;
        if !is_rmcp(header) || header[4] != RMCP_PLUS || header[5] != SEALED_MESSAGE {
            return None;
        }
        let code = self.suite.code(&self.integrity_key, &[&packet[RMCP_HEADER.len()..]]);
        let authentic = bool::from(code[..self.suite.tag_bytes()].ct_eq(tag));
        if !authentic || header[6..10] != self.ours.to_le_bytes() {
            return None;
        }
        let sequence = u32::from_le_bytes([header[10], header[11], header[12], header[13]]);
        let length = usize::from(u16::from_le_bytes([header[14], header[15]]));
        let (vector, encrypted) = rest.get(..length)?.split_first_chunk::<BLOCK_BYTES>()?;
        Some(Opened { sequence, message: self.decrypt(*vector, encrypted)? })
    }

    /// Pads with 1, 2, 3 and so on, and a count, to whole blocks (section 13.29), and encrypts.
    fn encrypt(&self, vector: [u8; BLOCK_BYTES], message: &[u8]) -> Vec<u8> {
        let padding = pad_count(message.len() + 1, BLOCK_BYTES);
        let mut text = message.to_vec();
        text.extend((1..=padding).chain([padding]));
        let length = text.len();
        cbc::Encryptor::<Aes128>::new(&(*self.encryption_key).into(), &vector.into())
            .encrypt_padded_mut::<NoPadding>(&mut text, length)
            .expect("the text was padded to whole blocks");
        text
    }

    fn decrypt(&self, vector: [u8; BLOCK_BYTES], encrypted: &[u8]) -> Option<Vec<u8>> {
        let mut text = encrypted.to_vec();
        cbc::Decryptor::<Aes128>::new(&(*self.encryption_key).into(), &vector.into())
            .decrypt_padded_mut::<NoPadding>(&mut text)
            .ok()?;
        let padding = usize::from(*text.last()?);
        let length = text.len().checked_sub(1 + padding)?;
        (padding < BLOCK_BYTES).then(|| text[..length].to_vec())
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Seal(suite {}, session {:#010x})", self.suite.number(), self.theirs)
    }
}

/// Which sequence numbers of the BMC were seen: each is taken once, and none that is 64 or more behind the highest.
///
/// This is what keeps a delayed answer from passing for a fresh one. Requests are told apart by six bits, so a number
/// comes back after 64 requests; each of them was answered (a session ends with the first that is not), so by then
/// the window has moved past every answer to the first.
#[derive(Debug, Default)]
pub(super) struct Window {
    highest: Option<u32>,
    /// Bit `n`: the number `highest - n` was seen.
    seen: u64,
}

impl Window {
    /// Returns whether the number is fresh, and remembers it.
    pub(super) fn admit(&mut self, sequence: u32) -> bool {
        let highest = self.highest.unwrap_or(sequence);
        if sequence > highest || self.highest.is_none() {
            let ahead = sequence - highest;
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = Some(sequence);
            return true;
        }
        let mark = 1u64.checked_shl(highest - sequence).unwrap_or(0);
        let fresh = mark != 0 && self.seen & mark == 0;
        self.seen |= mark;
        fresh
    }
}

fn is_rmcp(header: &[u8; HEADER_BYTES]) -> bool {
    header[0] == RMCP_HEADER[0] && header[3] == RMCP_HEADER[3]
}

fn length_field(payload: &[u8]) -> [u8; 2] {
    u16::try_from(payload.len()).expect("our payloads are a few hundred bytes").to_le_bytes()
}

/// Returns how many bytes fill `length` up to whole blocks.
fn pad_count(length: usize, block: usize) -> u8 {
    u8::try_from((block - length % block) % block).expect("less than a block")
}

#[cfg(test)]
impl Seal {
    /// Seals as the BMC does.
    pub(super) fn close_as_bmc(&self, sequence: u32, vector: [u8; BLOCK_BYTES], message: &[u8]) -> Vec<u8> {
        self.close_as(self.ours, sequence, vector, message)
    }
}
