//! Conversions between the wire's messages and the machine's types.
//!
//! From the machine to the wire nothing can fail. The other way everything is checked, and what does not fit is an
//! [`Error`]: a missing field, an unknown number or a wrong length never becomes a default.

mod agent;
mod cluster;
mod command;
mod event;
mod fence;
mod host;
mod instance;
mod outcome;
mod reason;
mod record;
mod recovery;
mod reply;
mod segment;
mod settings;
mod vote;

use std::fmt;
use std::str::FromStr;

use quorumfence_machine::ParseError;

pub use self::command::{decode_command, encode_command};
pub use self::record::{decode_record, encode_record, record_key_bytes};

/// Why a message is not one of the machine's values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", Place(field))]
pub struct Error {
    /// The path to the field from the outermost message, such as `change.votes[2].host`; empty for the message itself.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A field that must be there is not.
    #[error("it is missing")]
    Missing,
    /// The number is not one of the enumeration, or it is a variant of a later version.
    #[error("{0} is not a known value; the sender may run a later version")]
    UnknownNumber(i32),
    /// The bytes have the wrong length.
    #[error("it has {actual} bytes and must have {expected}")]
    Length {
        /// How many it must have.
        expected: usize,
        /// How many it has.
        actual: usize,
    },
    /// The number is larger than the field can hold.
    #[error("{actual} is too large; the largest value is {max}")]
    TooLarge {
        /// The largest value.
        max: u64,
        /// What stands there.
        actual: u64,
    },
    /// A name breaks the rules for names.
    #[error(transparent)]
    Name(ParseError),
    /// A set holds a value twice, or is not sorted.
    #[error("its values are not sorted, or one stands there twice")]
    Unsorted,
    /// The bytes are no such message.
    #[error("the bytes are not such a message: {0}")]
    Undecodable(String),
}

/// The words before a problem.
struct Place<'a>(&'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("the message: ") } else { write!(f, "field '{}': ", self.0) }
    }
}

impl Error {
    fn new(field: &str, problem: Problem) -> Self {
        Self { field: field.into(), problem }
    }

    /// Returns the same error seen from the message that holds the failed one in `field`.
    #[must_use]
    pub fn within(mut self, field: &str) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        self.field = format!("{field}{dot}{}", self.field);
        self
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// Returns the value of a field that must be there.
pub fn required<P, M: TryFrom<P, Error = Error>>(value: Option<P>, field: &str) -> Result<M, Error> {
    optional(value, field)?.ok_or_else(|| missing(field))
}

/// Returns the value of a field that may be absent.
pub fn optional<P, M: TryFrom<P, Error = Error>>(value: Option<P>, field: &str) -> Result<Option<M>, Error> {
    value.map(|value| M::try_from(value).map_err(|error| error.within(field))).transpose()
}

/// Returns the values of a repeated field.
pub fn list<P, M: TryFrom<P, Error = Error>>(values: Vec<P>, field: &str) -> Result<Vec<M>, Error> {
    each(values, field, M::try_from)
}

/// Returns an enumeration's value.
pub fn number<P, M>(value: i32, field: &str) -> Result<M, Error>
where
    P: TryFrom<i32>,
    M: TryFrom<P, Error = Error>,
{
    let known = P::try_from(value).map_err(|_| Error::new(field, Problem::UnknownNumber(value)))?;
    M::try_from(known).map_err(|error| error.within(field))
}

/// Returns the bytes of a boot, machine, instance, cluster or request identifier.
pub fn uuid(bytes: Vec<u8>, field: &str) -> Result<[u8; 16], Error> {
    fixed(bytes, field)
}

fn fixed<const N: usize>(bytes: Vec<u8>, field: &str) -> Result<[u8; N], Error> {
    let actual = bytes.len();
    bytes.try_into().map_err(|_| Error::new(field, Problem::Length { expected: N, actual }))
}

/// Returns a checked name.
pub fn name<M: FromStr<Err = ParseError>>(text: String, field: &str) -> Result<M, Error> {
    text.parse().map_err(|error| Error::new(field, Problem::Name(error)))
}

fn optional_uuid(bytes: Option<Vec<u8>>, field: &str) -> Result<Option<[u8; 16]>, Error> {
    bytes.map(|bytes| uuid(bytes, field)).transpose()
}

fn byte(value: u32, field: &str) -> Result<u8, Error> {
    let too_large = Problem::TooLarge { max: u8::MAX.into(), actual: value.into() };
    u8::try_from(value).map_err(|_| Error::new(field, too_large))
}

/// Returns the results of a fallible conversion of every value, with the failing position in the error.
fn each<P, M>(values: Vec<P>, field: &str, convert: impl Fn(P) -> Result<M, Error>) -> Result<Vec<M>, Error> {
    let numbered = values.into_iter().enumerate();
    numbered.map(|(at, value)| convert(value).map_err(|error| error.within(&format!("{field}[{at}]")))).collect()
}

/// Refuses what cannot have been written from a set: the bytes of equal values are equal.
fn sorted<T: Ord>(values: Vec<T>, field: &str) -> Result<Vec<T>, Error> {
    if values.is_sorted_by(|left, right| left < right) { Ok(values) } else { Err(Error::new(field, Problem::Unsorted)) }
}

fn missing(field: &str) -> Error {
    Error::new(field, Problem::Missing)
}

fn decode<P: prost::Message + Default>(bytes: &[u8]) -> Result<P, Error> {
    P::decode(bytes).map_err(|error| Error::new("", Problem::Undecodable(error.to_string())))
}

/// Converts an enumeration without fields both ways. Number 0 is never valid.
macro_rules! plain_enum {
    ($type:ident { $($variant:ident),+ $(,)? }) => {
        impl From<quorumfence_machine::$type> for crate::pb::$type {
            fn from(value: quorumfence_machine::$type) -> Self {
                match value {
                    $(quorumfence_machine::$type::$variant => Self::$variant,)+
                }
            }
        }

        impl TryFrom<crate::pb::$type> for quorumfence_machine::$type {
            type Error = crate::convert::Error;
            fn try_from(value: crate::pb::$type) -> Result<Self, Self::Error> {
                match value {
                    crate::pb::$type::Unspecified => {
                        Err(crate::convert::Error { field: String::new(), problem: crate::convert::Problem::UnknownNumber(0) })
                    }
                    $(crate::pb::$type::$variant => Ok(Self::$variant),)+
                }
            }
        }
    };
}
use plain_enum;
