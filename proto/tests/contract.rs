//! The contract with the wire and the disk: nothing is lost, nothing is guessed, and old bytes stay readable.

mod arbitrary;
mod frozen;
mod refusals;
mod round_trip;
mod samples;
