//! A check that RocksDB leaves out: is the end of a record file torn, or damaged?
//!
//! RocksDB takes a last record that announces more bytes than the file has for one that a crash tore, and drops it
//! with everything behind it. A flipped bit in the length of a durable record looks the same, and would drop
//! acknowledged votes and entries in silence. The two differ in one thing: the checksum of a damaged length still
//! fits the bytes that are there, for some shorter length.
//!
//! ```text
//!   block (32768) = record* ; record = masked CRC32C (4) | length (2) | type (1) | payload   (little-endian)
//! ```

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::{fs, io};

use crate::error::Error;

pub(super) const BLOCK_BYTES: u64 = 32_768;
pub(super) const HEADER_BYTES: usize = 7;
/// The checksum covers the type and the payload.
pub(super) const TYPE_AT: usize = 6;
/// Records of these types have the header above; the product writes no others, and RocksDB checks the rest.
pub(super) const PLAIN_TYPES: std::ops::RangeInclusive<u8> = 1..=4;

/// Refuses a write-ahead log or a manifest in `folder` whose last block holds a damaged length.
///
/// An absent folder is fine: it is about to be created.
pub(super) fn check(folder: &Path) -> Result<(), Error> {
    let damaged = find_damage(folder)
        .map_err(|source| Error::Database { doing: "check the end of its files", source: Box::new(source) })?;
    match damaged {
        Some(file) => Err(Error::Damaged { reason: format!("a record at the end of {file} has a changed length") }),
        None => Ok(()),
    }
}

fn find_damage(folder: &Path) -> io::Result<Option<String>> {
    if !folder.try_exists()? {
        return Ok(None);
    }
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        let records = name.ends_with(".log") || name.starts_with("MANIFEST-");
        if records && length_is_damaged(&last_block(&file.path())?) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn last_block(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(1) / BLOCK_BYTES * BLOCK_BYTES))?;
    let mut block = Vec::new();
    file.take(BLOCK_BYTES).read_to_end(&mut block)?;
    Ok(block)
}

fn length_is_damaged(block: &[u8]) -> bool {
    let mut rest = block;
    while let Some((&[a, b, c, d, low, high, kind], payload)) = rest.split_first_chunk::<HEADER_BYTES>() {
        if !PLAIN_TYPES.contains(&kind) {
            return false;
        }
        match payload.get(usize::from(u16::from_le_bytes([low, high]))..) {
            Some(next) => rest = next,
            None => return fits_a_shorter_length(&rest[TYPE_AT..], u32::from_le_bytes([a, b, c, d])),
        }
    }
    false
}

pub(super) fn fits_a_shorter_length(type_and_payload: &[u8], stored: u32) -> bool {
    let mut checksum = 0;
    type_and_payload.iter().any(|byte| {
        checksum = crc32c::crc32c_append(checksum, &[*byte]);
        masked(checksum) == stored
    })
}

/// RocksDB stores checksums rotated and shifted, so that a checksum of checksums is not weak.
pub(super) fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).expect("test payloads are short");
        let checksum = masked(crc32c::crc32c(&[&[1], payload].concat()));
        [&checksum.to_le_bytes(), length.to_le_bytes().as_slice(), &[1], payload].concat()
    }

    #[test]
    fn a_torn_record_is_not_damage() {
        let whole = [record(b"first"), record(b"second")].concat();
        for length in 0..=whole.len() {
            assert!(!length_is_damaged(&whole[..length]), "{length} bytes");
        }
    }

    #[test]
    fn a_changed_length_is_damage_wherever_the_record_is() {
        for at in [0, record(b"first").len()] {
            let mut changed = [record(b"first"), record(b"second")].concat();
            changed[at + 5] ^= 0x10;
            assert!(length_is_damaged(&changed), "record at {at}");
        }
    }

    #[test]
    fn a_preallocated_end_is_not_damage() {
        assert!(!length_is_damaged(&[record(b"first"), vec![0; 100]].concat()));
    }
}
