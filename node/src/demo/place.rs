//! The directory of one run. Runs that were killed leave theirs; the next run removes it.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::cli::{Exit, Failure};

const PREFIX: &str = "qfdemo-";

/// Where real mode keeps its rig.
pub(super) const RIG: &str = "rig";

/// Locked while the run lives.
const LOCK: &str = "lock";

/// A directory for one run. It is removed when this is dropped, unless it is kept.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    is_kept: bool,
    _lock: File,
}

impl Place {
    /// Makes a directory of a short name: sockets below it may have 107 bytes in all.
    pub(super) fn make() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("{PREFIX}{:08x}", rand::random::<u32>()));
        let failed = |error: std::io::Error| {
            let message = format!("{} cannot be made, and the demo keeps everything there; set TMPDIR", path.display());
            Failure::new(Exit::Failed, message).because(Some(&error))
        };
        fs::create_dir(&path).map_err(failed)?;
        let lock = File::create(path.join(LOCK)).map_err(failed)?;
        lock.try_lock().map_err(|error| failed(error.into()))?;
        Ok(Self { path, is_kept: false, _lock: lock })
    }

    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the files for somebody to look into; later runs leave them alone.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
        if let Err(error) = fs::remove_file(self.path.join(LOCK)) {
            tracing::warn!(%error, path = %self.path.display(), "the next demo removes these files");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.is_kept {
            remove(&self.path);
        }
    }
}

/// Which directories of killed runs may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leftovers {
    /// Those of any run: the rig has ended what they left running, with the scripts in them.
    All,
    /// Those without a rig.
    WithoutRig,
}

/// Removes directories of runs whose process is gone.
pub(super) fn remove_leftovers(which: Leftovers) {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        if which == Leftovers::WithoutRig && path.join(RIG).exists() {
            continue;
        }
        // Without a lock file it is somebody else's, or a run that starts at this moment.
        let Ok(lock) = File::open(path.join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            remove(&path);
        }
    }
}

/// Removes a directory. A task that is just ending may write once more, so it is tried again.
fn remove(path: &Path) {
    const TRIES: u32 = 10;
    const PAUSE: Duration = Duration::from_millis(50);
    for left in (0..TRIES).rev() {
        match fs::remove_dir_all(path) {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) if left == 0 => {
                tracing::warn!(%error, path = %path.display(), "a directory of the demo could not be removed");
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
