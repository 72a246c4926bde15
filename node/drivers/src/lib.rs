//! Drivers: each carries out one order and tells what it saw.

pub mod fencing;
pub mod hypervisor;
pub mod lab;
pub mod order;
pub mod secret;
