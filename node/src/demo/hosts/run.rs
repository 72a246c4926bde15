//! Commands and files, with errors that name them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use super::{Error, file_error};

/// Between two looks at something that is waited for.
pub(super) const POLL: Duration = Duration::from_millis(10);

/// Runs a command to its end and returns what it wrote to its standard output.
pub(super) fn command<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Result<String, Error> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|source| Error::Start { program: program.into(), source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = format!("{} ({})", String::from_utf8_lossy(&output.stderr).trim(), output.status);
    Err(Error::Failed { command: format!("{command:?}"), said })
}

/// Returns where a program is.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| file_error(path, source))
}

/// Returns a file's text without the white space around it.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(path).map_err(|source| file_error(path, source))?;
    Ok(text.trim().into())
}

/// Waits until `done` says so.
pub(super) fn wait(what: &str, patience: Duration, mut done: impl FnMut() -> Result<bool, Error>) -> Result<(), Error> {
    let began = Instant::now();
    while !done()? {
        if began.elapsed() > patience {
            return Err(Error::Late { what: what.into(), seconds: patience.as_secs() });
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// Returns the start time of a process, which names it for ever together with its pid; `None` when it is gone.
pub(super) fn started_at(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split_whitespace().nth(19).map(Into::into)
}
