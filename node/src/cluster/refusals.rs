//! What an agent refused in one boot, in a file whose room is taken in advance.
//!
//! ```text
//!   slot 0                                              slot 1
//!   SHA-256 of all that follows | length | JSON | ...   the same
//! ```
//!
//! An agent has to be able to say no at all times, also when its disk is full: the file is as large at first as it ever
//! gets, and it is written in place. The two slots take turns, so that a write that is cut leaves the list before it, all
//! of which was answered; nothing of the list that was cut was.
//!
//! A file system that never writes in place may still lack room; then keeping fails, and the agent says so.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use quorumfence_machine::{BootId, Refused};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::{self, Readers};

/// Room for one list: some four thousand instances. No host has so many, let alone refuses them in one boot.
const SLOT_BYTES: usize = 512 * 1024;
const SLOTS: u64 = 2;
const FILE_BYTES: usize = 2 * SLOT_BYTES;
const DIGEST_BYTES: usize = 32;
const LENGTH_BYTES: usize = 8;
const TEXT_BYTES_MAX: usize = SLOT_BYTES - DIGEST_BYTES - LENGTH_BYTES;

/// Why refusals were not read or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its room could not be taken.
    #[error(transparent)]
    Room(#[from] file::Error),
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Nothing in the file is whole.
    #[error(
        "{} cannot be understood, so nobody knows which orders this host refused; reboot the host, move the file away, \
         and start the agent again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The mistake, where there is text.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// There are more than the file has room for.
    #[error("{count} refusals do not fit into {}, so the last are not kept; reboot the host when its instances left it", path.display())]
    TooMany {
        /// How many there are.
        count: usize,
        /// The file.
        path: PathBuf,
    },
}

/// One list, as a slot holds it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Of two lists the one with the larger number counts; it also says which slot it is in.
    sequence: u64,
    boot: BootId,
    refusals: Vec<Refused>,
}

/// Where an agent keeps what it refuses in its boot. One process at a time may hold it.
#[derive(Debug)]
pub struct Refusals {
    path: PathBuf,
    boot: BootId,
    /// The newest list's.
    sequence: u64,
}

impl Refusals {
    /// Opens the place and returns what an earlier process refused in this boot. What was refused in another boot is of no
    /// use any more. Writes nothing: an agent on a full disk must still start, and say that it is full.
    pub(super) fn open(path: PathBuf, boot: BootId) -> Result<(Self, Vec<Refused>), Error> {
        let newest = newest(&path)?;
        let sequence = newest.as_ref().map_or(0, |newest| newest.sequence);
        let refusals = newest.filter(|newest| newest.boot == boot).map(|newest| newest.refusals).unwrap_or_default();
        Ok((Self { path, boot, sequence }, refusals))
    }

    /// Keeps the whole list. It is on the disk when this returns.
    pub fn keep(&mut self, refusals: &[Refused]) -> Result<(), Error> {
        let stored = Stored { sequence: self.sequence + 1, boot: self.boot, refusals: refusals.to_vec() };
        let text = serde_json::to_vec(&stored).map_err(|source| self.io("encode what belongs into", source.into()))?;
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::TooMany { count: refusals.len(), path: self.path.clone() });
        }
        let file = self.room()?;
        let place = stored.sequence % SLOTS * SLOT_BYTES as u64;
        file.write_all_at(&slot(&text), place).map_err(|source| self.io("write", source))?;
        file.sync_data().map_err(|source| self.io("sync", source))?;
        self.sequence = stored.sequence;
        Ok(())
    }

    /// Opens the file, and makes it as large as it ever gets where there is none.
    fn room(&self) -> Result<File, Error> {
        let open = || File::options().write(true).open(&self.path);
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                file::create(&self.path, &vec![0; FILE_BYTES], Readers::Everyone)?;
                open().map_err(|source| self.io("open", source))
            }
            opened => opened.map_err(|source| self.io("open", source)),
        }
    }

    fn io(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io { action, path: self.path.clone(), source }
    }
}

/// Returns a slot's bytes as far as they mean anything.
fn slot(text: &[u8]) -> Vec<u8> {
    let length = (text.len() as u64).to_le_bytes();
    let digest = Sha256::new().chain_update(length).chain_update(text).finalize();
    [&digest[..], &length[..], text].concat()
}

/// Returns the newest list that is whole; `None` while none was ever kept.
fn newest(path: &Path) -> Result<Option<Stored>, Error> {
    let io = |action| move |source| Error::Io { action, path: path.into(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        // Only this means that nothing was kept: a disk that does not answer may hold anything.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io("open")(source)),
    };
    let mut newest: Option<Stored> = None;
    let mut has_room_left = false;
    for number in 0..SLOTS {
        let mut bytes = vec![0; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, number * SLOT_BYTES as u64) {
            Ok(()) => {}
            Err(short) if short.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Error::Damaged { path: path.into(), source: None });
            }
            Err(source) => return Err(io("read")(source)),
        }
        has_room_left |= bytes.iter().all(|byte| *byte == 0);
        let Some(text) = whole(&bytes) else { continue };
        let stored: Stored = serde_json::from_slice(text)
            .map_err(|source| Error::Damaged { path: path.into(), source: Some(source) })?;
        if newest.as_ref().is_none_or(|newest| newest.sequence < stored.sequence) {
            newest = Some(stored);
        }
    }
    // The very first list may have been cut; then nothing was answered yet. Later one of the two is always whole.
    if newest.is_none() && !has_room_left {
        return Err(Error::Damaged { path: path.into(), source: None });
    }
    Ok(newest)
}

/// Returns the text of a slot that was written to its end.
fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = bytes.split_first_chunk::<DIGEST_BYTES>()?;
    let (length, rest) = rest.split_first_chunk::<LENGTH_BYTES>()?;
    let text = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    bytes.starts_with(&slot(text)).then_some(text)
}

#[cfg(test)]
mod tests;
