//! The `ipmi` driver against real counterparts: OpenIPMI's `ipmi_sim`, pyghmi's fake BMC and `ipmitool`.
//!
//! They need the Debian packages `openipmi` and `ipmitool`, and pyghmi (`fixtures/ipmi_sim/install-pyghmi.sh`).
//! A test whose counterpart is missing fails and says so.

mod bench;
mod conformance;
mod enrolment;
mod ipmitool;
mod limits;
mod login;
mod proxy;
