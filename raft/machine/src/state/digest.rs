//! A fingerprint of the state: FNV-1a over 128 bits, fed in a fixed byte order.
//!
//! It shows that replicas agree; it is no defence against anybody who forges a state.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::State;

/// A fingerprint of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u128);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

pub(super) fn digest(state: &State) -> Digest {
    let mut fnv = Fnv(OFFSET);
    macro_rules! feed {
        ($($table:ident),*) => {
            $(
                state.$table.len().hash(&mut fnv);
                state.$table.values().for_each(|row| row.hash(&mut fnv));
            )*
        };
    }
    feed!(cluster, controllers, join_tokens, segments, hosts, instances, fences, requests, events);
    Digest(fnv.0)
}

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// Feeds integers as little-endian bytes of fixed width, so that the machine's word does not show.
struct Fnv(u128);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.write(&number.to_le_bytes());
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write(&(number as i64).to_le_bytes());
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the trait asks for 64 bits; the digest is read from the field"
    )]
    fn finish(&self) -> u64 {
        self.0 as u64
    }
}
