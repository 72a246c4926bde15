//! Names of things, parsed at the edge into types that cannot be wrong.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest accepted name: what fits in one DNS label, because names stand in certificates.
pub const NAME_BYTES_MAX: usize = 63;

/// Why a name or an identifier was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The name is empty or longer than [`NAME_BYTES_MAX`].
    #[error("'{text}' has {} bytes; a name has 1 to {NAME_BYTES_MAX}", text.len())]
    Length {
        /// What was given.
        text: String,
    },
    /// The name holds a character that a DNS label cannot hold.
    #[error(
        "'{text}' holds '{character}'; a name has lower-case letters, digits, '-', '_' and '.', and starts with a letter or digit"
    )]
    Character {
        /// What was given.
        text: String,
        /// The first character that cannot stand there.
        character: char,
    },
    /// The text is not a UUID.
    #[error("'{text}' is not a UUID such as 6b8b4567-327b-43c6-8643-3c9869b39f2d")]
    Uuid {
        /// What was given.
        text: String,
    },
    /// The text is not a number.
    #[error("'{text}' is not a number")]
    Number {
        /// What was given.
        text: String,
    },
}

fn check_name(text: &str) -> Result<(), ParseError> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return Err(ParseError::Length { text: text.into() });
    }
    for (position, character) in text.chars().enumerate() {
        let inner = position > 0 && matches!(character, '-' | '_' | '.');
        if !(character.is_ascii_lowercase() || character.is_ascii_digit() || inner) {
            return Err(ParseError::Character { text: text.into(), character });
        }
    }
    Ok(())
}

macro_rules! name {
    ($(#[$meta:meta])* $type:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                check_name(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = ParseError;
            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// A hypervisor host.
    HostId
}
name! {
    /// A group of hosts that share one recovery policy (Masakari's failover segment).
    SegmentId
}
name! {
    /// A join token's public half.
    JoinTokenId
}

macro_rules! uuid {
    ($(#[$meta:meta])* $type:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(pub [u8; 16]);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&uuid_text(&self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&uuid_text(&self.0))
            }
        }

        impl FromStr for $type {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                uuid_bytes(text).map(Self).ok_or_else(|| ParseError::Uuid { text: text.into() })
            }
        }

        impl TryFrom<String> for $type {
            type Error = ParseError;
            fn try_from(text: String) -> Result<Self, ParseError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(id: $type) -> String {
                id.to_string()
            }
        }
    };
}

uuid! {
    /// One boot of a host, from `/proc/sys/kernel/random/boot_id`; a new one proves that the old boot is over.
    BootId
}
uuid! {
    /// A machine's identity, from SMBIOS on the host and from Get System GUID at its BMC.
    SystemUuid
}
uuid! {
    /// An instance: the libvirt domain's or the Nova server's UUID.
    InstanceId
}
uuid! {
    /// A cluster, drawn once at `cluster init`.
    ClusterId
}
uuid! {
    /// One request of a client, so that sending it twice changes the state once.
    RequestId
}

fn uuid_text(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (position, byte) in bytes.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(HEX[usize::from(byte >> 4)]));
        text.push(char::from(HEX[usize::from(byte & 15)]));
    }
    text
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let dashes_stand_right =
        text.len() == 32 || (text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-'));
    if digits.len() != 32 || !dashes_stand_right {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

/// A controller: its Raft node id, allocated once from the log and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ControllerId(pub u64);

impl fmt::Display for ControllerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("controller-{}", self.0))
    }
}

impl FromStr for ControllerId {
    type Err = ParseError;
    /// Accepts `controller-3` and `3`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.strip_prefix("controller-").unwrap_or(text);
        digits.parse().map(Self).map_err(|_| ParseError::Number { text: text.into() })
    }
}
