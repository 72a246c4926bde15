//! How a value is sealed, so that changed bytes are never mistaken for data.
//!
//! ```text
//!   version (1) | CRC32C (4, big-endian) over column ordinal, key and payload | payload
//! ```
//!
//! The checksum covers the place too: a good value under a wrong key is refused.

use crate::error::Error;
use crate::key;
use crate::kv::Column;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 5;

/// Returns `payload` with the header that binds it to its place.
pub(crate) fn seal(column: Column, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEADER_BYTES + payload.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&checksum(column, key, payload).to_be_bytes());
    sealed.extend_from_slice(payload);
    sealed
}

/// Returns the payload of a sealed value, or why it cannot be trusted.
pub(crate) fn unseal<'a>(column: Column, key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], Error> {
    let Some((&[version, a, b, c, d], payload)) = sealed.split_first_chunk::<HEADER_BYTES>() else {
        return Err(corrupt(column, key, format!("{} bytes are too few for a header", sealed.len())));
    };
    if version != VERSION {
        return Err(corrupt(column, key, format!("its version is {version}, known is {VERSION}")));
    }
    let stored = u32::from_be_bytes([a, b, c, d]);
    let actual = checksum(column, key, payload);
    if stored != actual {
        return Err(corrupt(column, key, format!("the checksum is {actual:08x}, {stored:08x} was written")));
    }
    Ok(payload)
}

pub(crate) fn corrupt(column: Column, key: &[u8], reason: String) -> Error {
    Error::Corrupt { column, key: hex(key), reason }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn checksum(column: Column, key: &[u8], payload: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&[key::column_ordinal(column)]), key);
    crc32c::crc32c_append(place, payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_are_frozen() {
        assert_eq!(hex(&seal(Column::Meta, &[1], b"vote")), "012a714882766f7465");
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let sealed = seal(Column::Log, &[0, 7], b"payload");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(Column::Log, &[0, 7], &changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_value_under_another_key_is_refused() {
        let sealed = seal(Column::Log, &[0, 7], b"payload");
        let error = unseal(Column::Log, &[0, 8], &sealed).expect_err("the key differs");
        assert!(matches!(error, Error::Corrupt { column: Column::Log, .. }), "{error}");
    }
}
