//! The replicated state machine and the fencing policy: pure and total.
//!
//! Everything here takes values and returns values. It never waits, reads a clock, rolls dice, logs or panics on
//! input; the manifest leaves it nothing to do so with. Start at [`State`] for what is known, [`decide`] for what is
//! done about it, and [`Agent`] for the other end.

mod agent;
mod command;
mod event;
mod id;
mod outcome;
mod policy;
mod reply;
mod state;
#[cfg(test)]
mod tests;
mod time;
mod token;
mod work;

pub use agent::*;
pub use command::*;
pub use event::*;
pub use id::*;
pub use outcome::*;
pub use policy::*;
pub use reply::*;
pub use state::*;
pub use time::*;
pub use token::*;
pub use work::*;
