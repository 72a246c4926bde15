//! Worlds: where the production code runs to be judged.

pub mod sim;
