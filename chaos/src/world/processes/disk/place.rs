//! Where a disk is mounted, until it is dropped.

#![expect(unsafe_code, reason = "unmounting is one system call")]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fuser::{BackgroundSession, Filesystem, MountOption, Session};

/// Mounts lie on top of each other when each was made on a dead one. Nobody has more.
const DEAD_MOUNTS_MAX: usize = 8;

/// A mounted file system. Dropping it ends the file system, even when processes still use it.
pub(super) struct Place {
    at: PathBuf,
    session: Option<BackgroundSession>,
}

impl Place {
    pub(super) fn mount(files: impl Filesystem + Send + 'static, at: &Path) -> io::Result<Self> {
        clear(at)?;
        fs::create_dir_all(at)?;
        let at = at.canonicalize()?;
        let above = at.parent().map(fs::metadata).transpose()?;
        if above.is_some_and(|above| fs::metadata(&at).is_ok_and(|here| here.dev() != above.dev())) {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("something is mounted at {}", at.display()),
            ));
        }
        let session = Session::new(files, &at, &[MountOption::FSName("quorumfence-disk".to_owned())])?.spawn()?;
        Ok(Self { at, session: Some(session) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The first call ends the connection, so that nobody waits for us any more. It fails when somebody has a file
        // open, and then the second one takes the mount away.
        if unmount(&self.at, libc::MNT_FORCE).is_err() && unmount(&self.at, libc::MNT_DETACH).is_err() {
            // Somebody else has unmounted it.
        }
        let Some(BackgroundSession { guard, .. }) = self.session.take() else { return };
        if guard.join().is_err() && !std::thread::panicking() {
            panic!("the thread that serves files has panicked");
        }
    }
}

/// Takes dead mounts away, whose processes were killed.
fn clear(at: &Path) -> io::Result<()> {
    for _ in 0..DEAD_MOUNTS_MAX {
        match fs::metadata(at) {
            Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => unmount(at, libc::MNT_DETACH)?,
            Err(_) | Ok(_) => break,
        }
    }
    Ok(())
}

fn unmount(at: &Path, flags: libc::c_int) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    // SAFETY: the path ends with a zero and outlives the call.
    match unsafe { libc::umount2(path.as_ptr(), flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
