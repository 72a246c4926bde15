//! Hypervisors, seen from the agent on their own host.
//!
//! A driver carries out one order of [`crate::order::Hypervisor`] and tells what it saw. Whether this host may run an
//! instance at all is decided before the order gets here: the agent asks the log, the driver asks libvirt.
//! Start reading at [`libvirt`]; [`definition`] is the pure part, [`conformance`] is what every driver must pass.

pub mod conformance;
pub mod definition;
pub mod libvirt;
