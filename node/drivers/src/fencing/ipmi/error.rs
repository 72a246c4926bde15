//! What can go wrong with a BMC, and which of it is a refusal and which a doubt.

use std::io;

use ipmi_rs::connection::NotEnoughData;
use quorumfence_machine::{Doubt, Refusal};

/// Why an access cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Longer than IPMI carries.
    #[error("the user name has {bytes} bytes; IPMI has room for {}", super::USER_BYTES_MAX)]
    UserLength {
        /// What was given.
        bytes: usize,
    },
    /// Longer than IPMI carries. How long stays unsaid.
    #[error("the password or the Kg is longer than the {} bytes that IPMI 2.0 has room for", super::KEY_BYTES_MAX)]
    KeyLength,
    /// Not one of the two suites that authenticate, protect and encrypt.
    #[error("cipher suite {number} is not used; only 17 and 3 are")]
    Suite {
        /// What was given.
        number: u8,
    },
}

/// Why a question to a BMC has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no answer before the deadline")]
    Timeout,
    #[error("the network gave the datagram back")]
    Network(#[source] io::Error),
    #[error("RMCP+ {stage} was answered with status {status:#04x}")]
    Setup { stage: Stage, status: u8 },
    #[error("the BMC does not offer cipher suite {}, status {status:#04x}", suite.number())]
    SuiteRefused { suite: super::Suite, status: u8 },
    #[error("asked for cipher suite {}, the BMC chose other algorithms", suite.number())]
    Downgraded { suite: super::Suite },
    #[error("the BMC does not know the password")]
    Password,
    #[error("the BMC has another Kg")]
    BmcKey,
    #[error("the BMC granted privilege {granted}")]
    Privilege { granted: u8 },
    #[error("the BMC answered with completion code {code:#04x}")]
    Completion { code: u8 },
    #[error("the answer is too short")]
    Truncated,
    #[error("an earlier question in this session went unanswered; it is over")]
    Over,
}

/// A step of the RMCP+ handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    OpenSession,
    Rakp2,
    Rakp4,
}

/// The two kinds of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Refused(Refusal),
    Unknown(Doubt),
}

impl Error {
    /// Returns whether to ask again may help, or must not be done.
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Timeout | Self::Over => Verdict::Unknown(Doubt::Timeout),
            Self::Network(_) => Verdict::Unknown(Doubt::Unreachable),
            Self::Setup { status, .. } => setup_verdict(*status),
            Self::SuiteRefused { .. } | Self::Downgraded { .. } => Verdict::Refused(Refusal::Insecure),
            Self::Password | Self::BmcKey => Verdict::Refused(Refusal::Credentials),
            Self::Privilege { .. } => Verdict::Refused(Refusal::Privilege),
            Self::Completion { code } => completion_verdict(*code),
            Self::Truncated => Verdict::Unknown(Doubt::Garbled),
        }
    }

    /// Returns whether the handshake may be begun again: datagrams were lost, or one came twice and the BMC went on
    /// from the other. The BMC has proven by then that it knows the password, so no account is locked by it.
    pub(super) fn is_mishap_of_the_handshake(&self) -> bool {
        match self {
            Self::Timeout => true,
            Self::Setup { stage: Stage::Rakp4, status } => {
                matches!(*status, INVALID_SESSION | INACTIVE_SESSION | INVALID_INTEGRITY_CHECK)
            }
            Self::Setup { stage: Stage::OpenSession | Stage::Rakp2, .. }
            | Self::Network(_)
            | Self::SuiteRefused { .. }
            | Self::Downgraded { .. }
            | Self::Password
            | Self::BmcKey
            | Self::Privilege { .. }
            | Self::Completion { .. }
            | Self::Truncated
            | Self::Over => false,
        }
    }
}

impl From<NotEnoughData> for Error {
    fn from(_: NotEnoughData) -> Self {
        Self::Truncated
    }
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::OpenSession => "Open Session",
            Self::Rakp2 => "RAKP 1",
            Self::Rakp4 => "RAKP 3",
        })
    }
}

/// Status codes of IPMI 2.0, table 13-15.
const NO_RESOURCES: u8 = 0x01;
const INVALID_SESSION: u8 = 0x02;
const INACTIVE_SESSION: u8 = 0x08;
const INVALID_ROLE: u8 = 0x09;
const UNAUTHORIZED_ROLE: u8 = 0x0a;
const NO_RESOURCES_FOR_ROLE: u8 = 0x0b;
const INVALID_NAME_LENGTH: u8 = 0x0c;
const UNAUTHORIZED_NAME: u8 = 0x0d;
const UNAUTHORIZED_GUID: u8 = 0x0e;
pub(super) const INVALID_INTEGRITY_CHECK: u8 = 0x0f;

/// Returns whether a status of Open Session says that the proposed algorithms are not offered.
pub(super) fn is_about_the_suite(status: u8) -> bool {
    matches!(status, 0x04..=0x07 | 0x10 | 0x11)
}

fn setup_verdict(status: u8) -> Verdict {
    match status {
        NO_RESOURCES | NO_RESOURCES_FOR_ROLE => Verdict::Unknown(Doubt::Busy),
        INVALID_ROLE | UNAUTHORIZED_ROLE => Verdict::Refused(Refusal::Privilege),
        INVALID_NAME_LENGTH | UNAUTHORIZED_NAME | UNAUTHORIZED_GUID => Verdict::Refused(Refusal::Credentials),
        _ => Verdict::Unknown(Doubt::Garbled),
    }
}

/// Returns whether a completion code (IPMI 2.0, table 5-2) says that the BMC does not have what the command asks for.
pub(super) fn is_unknown_command(code: u8) -> bool {
    matches!(code, 0xc1 | 0xc2 | 0xcb | 0xd6)
}

fn completion_verdict(code: u8) -> Verdict {
    match code {
        // Node busy, out of space, in update or initialisation.
        0xc0 | 0xc4 | 0xce | 0xd0..=0xd2 => Verdict::Unknown(Doubt::Busy),
        0xc3 => Verdict::Unknown(Doubt::Timeout),
        0xd4 => Verdict::Refused(Refusal::Privilege),
        // Not in the present state: among others, off for what went off a moment ago. Reading again tells.
        0xd5 => Verdict::Unknown(Doubt::Ambiguous),
        0xcc => Verdict::Refused(Refusal::Unsupported),
        code if is_unknown_command(code) => Verdict::Refused(Refusal::Unsupported),
        _ => Verdict::Unknown(Doubt::Garbled),
    }
}
