//! Snapshots of the state machine, one file each.
//!
//! ```text
//!   "QFENCE-SNAPSHOT\n" (16) | version (4) | index (8) | meta length (4) | data length (8) | meta | data | CRC32C (4)
//! ```
//!
//! Numbers are big-endian; the checksum covers everything before it. A snapshot can always be built or fetched again,
//! so a damaged file is skipped with a reason and never stops a replica.

use std::future::Future;
use std::io;

use crate::error::Error;

pub(crate) mod folder;

const MAGIC: &[u8; 16] = b"QFENCE-SNAPSHOT\n";
const VERSION: u32 = 1;
const SUFFIX: &str = ".snapshot";
/// The newest, and one to fall back on when the disk damages it.
const KEPT: usize = 2;

/// Where snapshots are kept: a folder in production, a simulated disk in the simulator.
pub trait SnapshotFiles: Clone + Send + Sync + 'static {
    /// Returns the names of all published files. MUST NOT return a file whose publication was interrupted.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Returns the bytes of a published file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Publishes a file under `name`, replacing one of that name.
    ///
    /// MUST write it aside, make it durable, and only then give it its name, durably: after a crash `name` holds the
    /// old bytes or the given ones.
    fn publish(&self, name: &str, bytes: Vec<u8>) -> impl Future<Output = io::Result<()>> + Send;

    /// Removes a published file. MUST succeed when it is already gone.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// A snapshot that was read back whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The index of the last entry whose effects it holds.
    pub index: u64,
    pub meta: Vec<u8>,
    pub data: Vec<u8>,
}

/// A file that is not a good snapshot, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub name: String,
    pub reason: String,
}

/// The newest good snapshot, and the newer files that had to be skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Current {
    pub snapshot: Option<Snapshot>,
    pub skipped: Vec<Skipped>,
}

/// The snapshots of one replica.
#[derive(Debug, Clone)]
pub struct Snapshots<F> {
    files: F,
}

impl<F: SnapshotFiles> Snapshots<F> {
    /// Returns the snapshots kept in `files`.
    pub fn new(files: F) -> Snapshots<F> {
        Snapshots { files }
    }

    /// Publishes a snapshot, durably, and removes all but the newest two.
    pub async fn publish(&self, index: u64, meta: &[u8], data: &[u8]) -> Result<(), Error> {
        let name = format!("{index:020}{SUFFIX}");
        let published = self.files.publish(&name, encode(index, meta, data)).await;
        published.map_err(|source| failed("publish", &name, source))?;
        for old in self.newest_first()?.into_iter().skip(KEPT) {
            self.files.remove(&old).map_err(|source| failed("remove", &old, source))?;
        }
        Ok(())
    }

    /// Returns the newest snapshot that reads back whole.
    pub fn current(&self) -> Result<Current, Error> {
        let mut current = Current::default();
        for name in self.newest_first()? {
            let decoded = match self.files.read(&name) {
                Ok(bytes) => decode(&bytes),
                Err(error) => Err(format!("it does not read: {error}")),
            };
            match decoded {
                Ok(snapshot) => {
                    current.snapshot = Some(snapshot);
                    break;
                }
                Err(reason) => current.skipped.push(Skipped { name, reason }),
            }
        }
        Ok(current)
    }

    fn newest_first(&self) -> Result<Vec<String>, Error> {
        let mut names = self.files.names().map_err(|source| failed("list", "its files", source))?;
        names.retain(|name| name.ends_with(SUFFIX));
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(names)
    }
}

fn encode(index: u64, meta: &[u8], data: &[u8]) -> Vec<u8> {
    let meta_length = u32::try_from(meta.len()).expect("meta is a log id and a membership");
    let mut bytes = Vec::with_capacity(MAGIC.len() + 28 + meta.len() + data.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&index.to_be_bytes());
    bytes.extend_from_slice(&meta_length.to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u64).to_be_bytes());
    bytes.extend_from_slice(meta);
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Snapshot, String> {
    let short = || format!("{} bytes are too few, it is torn", bytes.len());
    let (covered, sum) = bytes.split_last_chunk::<4>().ok_or_else(short)?;
    let rest = covered.strip_prefix(MAGIC).ok_or("it does not start like a snapshot")?;
    if crc32c::crc32c(covered) != u32::from_be_bytes(*sum) {
        return Err("its checksum does not match, it is torn or damaged".to_owned());
    }
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let version = u32::from_be_bytes(*version);
    if version != VERSION {
        return Err(format!("its version is {version}, known is {VERSION}"));
    }
    let (index, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let (meta_length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let (data_length, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let meta_length = usize::try_from(u32::from_be_bytes(*meta_length)).map_err(|error| error.to_string())?;
    let (meta, data) = rest.split_at_checked(meta_length).ok_or_else(short)?;
    if data.len() as u64 != u64::from_be_bytes(*data_length) {
        return Err(short());
    }
    Ok(Snapshot { index: u64::from_be_bytes(*index), meta: meta.to_vec(), data: data.to_vec() })
}

fn failed(doing: &'static str, name: &str, source: io::Error) -> Error {
    Error::Snapshot { doing, name: name.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::hex;

    #[test]
    fn snapshot_bytes_are_frozen() {
        let expected = "5146454e43452d534e415053484f540a\
                        00000001000000000000010200000001\
                        00000000000000046d6461746148b77cae";
        assert_eq!(hex(&encode(258, b"m", b"data")), expected);
    }

    #[test]
    fn every_prefix_of_a_snapshot_is_refused() {
        let whole = encode(258, b"meta", b"data");
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(decode(&whole), Ok(Snapshot { index: 258, meta: b"meta".to_vec(), data: b"data".to_vec() }));
    }

    #[test]
    fn every_flipped_bit_of_a_snapshot_is_refused() {
        let whole = encode(258, b"meta", b"data");
        for bit in 0..whole.len() * 8 {
            let mut changed = whole.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&changed).is_err(), "bit {bit}");
        }
    }
}
