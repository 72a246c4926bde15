//! Wire and disk contracts, and their conversions to the machine's types.
//!
//! [`pb`] is what `fencing/v1/*.proto` says. [`convert`] turns it into the machine's types and back, and refuses what
//! does not fit: nothing from the wire or the disk is replaced by a default. Nothing here runs.

pub mod convert;
mod limits;
mod secrets;
pub mod status;

pub use limits::*;

/// The generated messages, clients and servers.
#[allow(clippy::all, clippy::pedantic, clippy::restriction, unused_qualifications, reason = "generated code")]
pub mod pb {
    tonic::include_proto!("fencing.v1");
}
