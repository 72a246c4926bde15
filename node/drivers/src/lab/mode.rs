//! How simulated parts behave, and misbehave.

use std::time::Duration;

/// How a BMC behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BmcMode {
    /// It answers and obeys.
    #[default]
    Works,
    /// It answers nothing.
    Silent,
    /// It accepts orders, says so, and does nothing.
    Ignores,
    /// It refuses the account. Who is logged in stays so.
    RefusesLogin,
    /// It accepts an off order at once and obeys after this long, whatever happened meanwhile.
    Late(Duration),
    /// It obeys, and every reading of the power tells what was true when the mode was set.
    Stale,
    /// It has no session free. Who is logged in stays so.
    Busy,
    /// It obeys, and this long after the power went it comes back by itself, in a new boot.
    PowersBackOn(Duration),
    /// It obeys an off order, and the answer to it is lost.
    LosesAnswer,
}

/// How a hypervisor behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HypervisorMode {
    /// It answers and obeys.
    #[default]
    Works,
    /// It starts and stops nothing, and says so.
    Fails,
    /// It answers nothing and does nothing.
    Hangs,
    /// It starts and stops what it is told, and the answer is lost.
    LosesAnswer,
    /// A start or a stop takes effect this long after its order, whether or not somebody waits, unless the host's power went.
    Late(Duration),
}
