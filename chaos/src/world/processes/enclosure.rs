//! Namespaces around the whole world: whatever it started ends with it, also when it is killed.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use anyhow::Context;

/// Tells the process inside that it is inside.
const INSIDE: &str = "QUORUMFENCE_CHAOS_INSIDE";

/// Programs of util-linux: namespaces, and a death with the parent's.
const TIE: [&str; 3] = ["setpriv", "--pdeathsig", "KILL"];
const WRAP: [&str; 7] =
    ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child=KILL", "--propagation=private"];

/// Returns whether this process is the first of its own process namespace, so that everything ends with it.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some() && std::process::id() == 1
}

/// Runs this program again with the same arguments, inside, and returns how it ended.
///
/// # Errors
///
/// It could not be started: namespaces need root, and `setpriv` and `unshare` are in the package util-linux.
pub fn run_inside() -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("this program's own file")?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let status = Command::new(TIE[0])
        .args(&TIE[1..])
        .args(WRAP)
        .arg(program)
        .args(arguments)
        .env(INSIDE, "1")
        .status()
        .context("setpriv and unshare cannot be run; they are in the package util-linux")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map(ExitCode::from).with_context(|| format!("the world was ended by signal {:?}", status.signal()))
}
