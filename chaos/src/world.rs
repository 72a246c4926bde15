//! Worlds: where the production code runs to be judged.

pub mod hosts;
pub mod processes;
pub mod sim;
