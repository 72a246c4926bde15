//! How a command ends when it does not end well.

use std::error::Error;
use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use quorumfence_machine::Rejected;
use quorumfence_proto::status::{self, Detail};
use tonic::{Code, Status};

/// What scripts can rely on. Success is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It failed.
    Failed = 1,
    /// The arguments or a configuration are wrong.
    Usage = 2,
    /// What was named is not there.
    NotFound = 3,
    /// The safety policy refuses.
    Held = 4,
    /// It did not happen in time, or nobody knows whether it did.
    TimedOut = 5,
    /// No controller could be reached.
    Unreachable = 6,
    /// Something that is there already stands against it.
    Conflict = 7,
}

/// Why a command did not do what it should: what happened, what it means, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The process's exit code.
    pub exit: Exit,
    /// What happened and what to do.
    pub message: String,
    /// The causes, nearest first.
    pub causes: Vec<String>,
}

impl Failure {
    /// Creates a failure without a deeper cause.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), causes: Vec::new() }
    }

    /// Creates the failure that an error with its sources tells.
    pub fn of(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        Self::new(exit, error.to_string()).because(error.source())
    }

    /// Adds causes. One that says the same as the line before is left out.
    #[must_use]
    pub fn because(mut self, cause: Option<&(dyn Error + 'static)>) -> Self {
        for cause in std::iter::successors(cause, |&cause| cause.source()) {
            let line = cause.to_string();
            if self.causes.last().unwrap_or(&self.message) != &line {
                self.causes.push(line);
            }
        }
        self
    }

    /// Writes the failure to standard error and returns the exit code.
    pub fn report(&self) -> ExitCode {
        let mut out = std::io::stderr().lock();
        if write!(out, "{self}").is_err() {
            // Nobody reads it; the exit code still tells.
            return ExitCode::from(self.exit as u8);
        }
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        self.causes.iter().try_for_each(|cause| writeln!(f, "  because: {cause}"))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        if let Some(Detail::Rejected(rejected)) = status::detail(&status) {
            return Self::new(exit_of(&rejected), rejected.to_string());
        }
        let exit = match status.code() {
            Code::NotFound => Exit::NotFound,
            Code::InvalidArgument => Exit::Usage,
            Code::FailedPrecondition => Exit::Held,
            Code::AlreadyExists | Code::Aborted => Exit::Conflict,
            Code::DeadlineExceeded => Exit::TimedOut,
            Code::Unavailable => Exit::Unreachable,
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Exit::Failed,
        };
        Self::new(exit, status.message()).because(status.source())
    }
}

fn exit_of(rejected: &Rejected) -> Exit {
    match rejected {
        Rejected::UnknownHost(_) | Rejected::UnknownSegment(_) | Rejected::NoAssignment(_) => Exit::NotFound,
        Rejected::ClusterExists
        | Rejected::SegmentExists(_)
        | Rejected::JoinTokenExists(_)
        | Rejected::HostTaken(_)
        | Rejected::DeviceTaken { .. }
        | Rejected::NotAVoter(_)
        | Rejected::NoParent(_)
        | Rejected::WrongBoot(_) => Exit::Conflict,
        Rejected::Invalid(_) => Exit::Usage,
        Rejected::NoCluster | Rejected::JoinToken(_) => Exit::Failed,
        Rejected::WrongMachine { .. } | Rejected::HostLives(_) | Rejected::Held(_) => Exit::Held,
    }
}
