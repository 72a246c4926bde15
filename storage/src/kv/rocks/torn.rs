//! The end of the write-ahead log after a power cut: a record whose later sectors never reached the disk.
//!
//! A file system may make a file longer before it has written what belongs there, and what is missing then reads as
//! zeros. RocksDB sees a record with a wrong checksum before the end of the file and refuses to open, in every mode that
//! does not also drop what was synced. The record itself tells the two apart:
//!
//! ```text
//!   synced records | record: its first sectors | zeros, from a sector's border to the end of the file
//! ```
//!
//! Such a record was never written whole, so no sync that covers it has returned. It is cut off when nothing but zeros
//! follows and no shorter length fits its checksum. A record that is damaged in any other way stays, and RocksDB refuses
//! it. Only the newest file is touched: RocksDB syncs the older ones before it acknowledges anything in a newer one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::tail::{BLOCK_BYTES, HEADER_BYTES, PLAIN_TYPES, TYPE_AT, fits_a_shorter_length, masked};
use crate::error::Error;

/// Disks write sectors whole, of this size or a multiple.
const SECTOR_BYTES: usize = 512;

/// Cuts a torn last record off the newest write-ahead log in `folder`. Idempotent.
///
/// An absent folder is fine: it is about to be created.
pub(super) fn cut(folder: &Path) -> Result<(), Error> {
    let rejected = |source| Error::Database { doing: "cut off a torn record", source: Box::new(source) };
    let Some(path) = newest(folder).map_err(rejected)? else { return Ok(()) };
    let Some(at) = torn_at(&path).map_err(rejected)? else { return Ok(()) };
    tracing::warn!(
        file = %path.display(),
        at,
        "The write-ahead log ends with a record that a power cut tore; it was never acknowledged, and is cut off."
    );
    shorten(&path, at).map_err(rejected)
}

fn shorten(path: &Path, length: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(length)?;
    file.sync_all()
}

fn newest(folder: &Path) -> io::Result<Option<PathBuf>> {
    if !folder.try_exists()? {
        return Ok(None);
    }
    let mut newest: Option<(u64, PathBuf)> = None;
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let is_log = path.extension().is_some_and(|kind| kind == "log");
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (true, Some(number)) = (is_log, number)
            && newest.as_ref().is_none_or(|(known, _)| *known < number)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Returns where the torn last record of a file begins; `None` when the file ends otherwise.
fn torn_at(path: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let mut end = file.metadata()?.len();
    // Backwards over whole blocks of zeros, which only a file that was made longer has.
    while end > 0 {
        let start = (end - 1) / BLOCK_BYTES * BLOCK_BYTES;
        file.seek(SeekFrom::Start(start))?;
        let mut block = Vec::new();
        (&mut file).take(end - start).read_to_end(&mut block)?;
        if block.iter().any(|byte| *byte != 0) {
            return Ok(torn_in(&block).map(|at| start + at as u64));
        }
        end = start;
    }
    Ok(None)
}

/// Returns where the torn record of a block begins, behind whose last byte that is not zero the file has only zeros.
fn torn_in(block: &[u8]) -> Option<usize> {
    let written = block.iter().rposition(|byte| *byte != 0)? + 1;
    // A block begins at a sector's border.
    let border = written.next_multiple_of(SECTOR_BYTES);
    let mut at = 0;
    while at < written {
        let &[a, b, c, d, low, high, kind] = block.get(at..)?.first_chunk::<HEADER_BYTES>()?;
        let length = usize::from(u16::from_le_bytes([low, high]));
        let body = at + HEADER_BYTES;
        let is_cut = border < body.max(body + length);
        if kind != 0 && !PLAIN_TYPES.contains(&kind) {
            return None;
        }
        let stored = u32::from_le_bytes([a, b, c, d]);
        let whole = block.get(at + TYPE_AT..body + length);
        if kind != 0 && whole.is_some_and(|covered| masked(crc32c::crc32c(covered)) == stored) {
            at = body + length;
            continue;
        }
        let is_damaged = kind != 0 && fits_a_shorter_length(&block[at + TYPE_AT..], stored);
        return (is_cut && !is_damaged).then_some(at);
    }
    None
}

#[cfg(test)]
mod tests;
