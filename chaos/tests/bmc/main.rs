//! The BMC of the world of processes, against the product's `ipmi` driver and against `ipmitool` (Debian package
//! `ipmitool`; a test that misses it fails and says so).

mod bench;
mod conformance;
mod ipmitool;
mod modes;
mod slots;
mod wires;
