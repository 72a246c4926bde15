//! A network namespace that lasts as long as somebody holds it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use super::kernel;

/// A network namespace with its loopback up and without IPv6, whose unasked frames would use up chance.
///
/// It has no name in the file system: it ends with its last holder, process or [`Namespace`]. Clones hold the same one.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// Makes a namespace. Needs the right to administer networks.
    pub fn new() -> io::Result<Self> {
        on_a_thread(|| {
            kernel::unshare_network()?;
            // A kernel without IPv6 has nothing to turn off.
            for all in ["all", "default"] {
                match std::fs::write(format!("/proc/sys/net/ipv6/conf/{all}/disable_ipv6"), "1") {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            kernel::bring_up("lo")?;
            Self::of_path("/proc/thread-self/ns/net")
        })?
    }

    /// Returns the namespace that a process lives in.
    pub fn of_process(id: u32) -> io::Result<Self> {
        Self::of_path(&format!("/proc/{id}/ns/net"))
    }

    fn of_path(path: &str) -> io::Result<Self> {
        Ok(Self(Arc::new(File::open(path)?)))
    }

    /// Runs something inside, on a thread of its own. Sockets made there stay there, whoever uses them afterwards.
    pub fn run<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            self.enter()?;
            Ok(inside())
        })?
    }

    /// Moves the calling thread inside, for good. A runtime can do it with each thread that it starts.
    pub fn enter(&self) -> io::Result<()> {
        kernel::enter_network(self.0.as_fd())
    }

    /// Lets a command run inside.
    #[expect(unsafe_code, reason = "between fork and exec not everything is allowed")]
    pub fn adopt<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let namespace = self.clone();
        // SAFETY: one system call and no allocation between fork and exec.
        unsafe { command.pre_exec(move || namespace.enter()) }
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn_scoped(scope, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
