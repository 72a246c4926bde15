//! The quorumfence binary: controllers, agents, the command line and the demo.

pub mod agent;
pub mod api;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod demo;
mod deputy;
pub mod environment;
mod evidence;
mod executor;
mod leader;
#[cfg(test)]
mod sample;
pub mod telemetry;
mod watch;
pub mod wiring;
