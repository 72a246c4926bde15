//! Evidence: when this controller looks at which host, and what it saw.
//!
//! Heartbeats come by themselves (`controller/attendance.rs`). The rest is asked for, and here is decided when: a plan
//! is pure and says what is due; a look carries one question out. To add a probe: a file here and a line in `watch.rs`.

pub(crate) mod bmc;
pub(crate) mod reach;
