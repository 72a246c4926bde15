//! Small files that are written whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// No file of a cluster directory is larger; more is a wrong file.
pub(super) const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there already and may not be replaced.
    #[error("{} exists already, so nothing was written; choose another place, or move it away if it is not needed", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A secret file can be read by others than its owner.
    #[error("{} holds a secret and has mode {mode:04o}: others can read it; run 'chmod 600 {}', and replace the key if somebody may have seen it", path.display(), path.display())]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is far too large for what it should be.
    #[error("{} is larger than {FILE_BYTES_MAX} bytes, so it is not what belongs there", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
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
}

/// Who may read a file besides root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    Owner,
    Everyone,
}

/// Writes a file that MUST NOT exist; after a crash it is there whole or not at all.
pub(super) fn create(path: &Path, contents: &[u8], readers: Readers) -> Result<(), Error> {
    let aside = write_aside(path, contents, readers)?;
    match renameat_with(CWD, &aside, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => sync_parent(path),
        Err(error) => {
            std::fs::remove_file(&aside).map_err(|source| Error::Io { action: "remove", path: aside, source })?;
            if error == rustix::io::Errno::EXIST {
                return Err(Error::Exists { path: path.into() });
            }
            Err(Error::Io { action: "create", path: path.into(), source: error.into() })
        }
    }
}

/// Writes a file over the one that may exist; after a crash the old or the whole new one is there.
pub(super) fn replace(path: &Path, contents: &[u8], readers: Readers) -> Result<(), Error> {
    let aside = write_aside(path, contents, readers)?;
    std::fs::rename(&aside, path).map_err(|source| Error::Io { action: "replace", path: path.into(), source })?;
    sync_parent(path)
}

/// Removes a file for good; one that is gone already is fine.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Io { action: "remove", path: path.into(), source }),
    }
}

/// Returns the text of a file that anybody may read.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    read_open(path, &open(path)?)
}

/// Returns the text of a secret file; refuses one that others than its owner can read.
pub(super) fn read_private(path: &Path) -> Result<String, Error> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|source| Error::Io { action: "look at", path: path.into(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::NotPrivate { path: path.into(), mode });
    }
    read_open(path, &file)
}

/// Makes a directory, and its parents, that only the owner can enter; one that is there already stays as it is.
pub(super) fn create_directory(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|source| Error::Io {
        action: "create the directory",
        path: path.into(),
        source,
    })
}

fn open(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Io { action: "open", path: path.into(), source })
}

fn read_open(path: &Path, file: &File) -> Result<String, Error> {
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|source| Error::Io { action: "read", path: path.into(), source })?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::TooLarge { path: path.into() });
    }
    Ok(text)
}

fn write_aside(path: &Path, contents: &[u8], readers: Readers) -> Result<PathBuf, Error> {
    let mut name = path.file_name().expect("every path here ends in a file name").to_os_string();
    name.push(format!(".{}.aside", std::process::id()));
    let aside = path.with_file_name(name);
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Everyone => 0o644,
    };
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&aside)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(contents)?;
        file.sync_all()
    };
    if let Err(source) = write() {
        // Half a file would take the room that a full disk lacks. That it cannot be removed either changes nothing.
        drop(std::fs::remove_file(&aside));
        return Err(Error::Io { action: "write", path: aside, source });
    }
    Ok(aside)
}

/// Makes the file's name durable: a rename lives in the directory, which has its own fsync.
fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let sync = File::open(parent).and_then(|directory| directory.sync_all());
    sync.map_err(|source| Error::Io { action: "sync the directory", path: parent.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_exists_is_not_created_over() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("ca.pem");
        create(&path, b"first", Readers::Everyone).expect("nothing is there yet");
        let error = create(&path, b"second", Readers::Everyone).expect_err("the file is there");
        assert!(matches!(error, Error::Exists { path: named } if named == path));
        assert_eq!(read(&path).expect("it can be read"), "first");
        assert_eq!(std::fs::read_dir(place.path()).expect("a directory").count(), 1, "nothing is left aside");
    }

    #[test]
    fn a_replaced_file_has_the_later_text_and_mode() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("node.key");
        create(&path, b"first", Readers::Everyone).expect("nothing is there yet");
        replace(&path, b"second", Readers::Owner).expect("it can be replaced");
        assert_eq!(read_private(&path).expect("only its owner reads it"), "second");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("node.key");
        for mode in [0o640, 0o604, 0o644, 0o620] {
            std::fs::write(&path, "secret").expect("it can be written");
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).expect("the mode can be set");
            let error = read_private(&path).expect_err("others can read it");
            assert!(matches!(error, Error::NotPrivate { mode: found, .. } if found == mode), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let path = place.path().join("ca.pem");
        let size = usize::try_from(FILE_BYTES_MAX).expect("it is small") + 1;
        std::fs::write(&path, vec![b'x'; size]).expect("it can be written");
        assert!(matches!(read(&path).expect_err("it is too large"), Error::TooLarge { .. }));
    }
}
