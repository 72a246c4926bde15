//! The guards of the protocol. Each can be taken away, to see that something breaks without it.

use std::fmt;
use std::str::FromStr;

use super::{Beginning, Bounds, promise};

macro_rules! guards {
    ($($(#[doc = $doc:literal])+ $name:ident, $text:literal, $place:literal, $bounds:expr;)+) => {
        /// A guard of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Guard {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Guard {
            /// Every guard, in the order in which the protocol needs them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns what it forbids, in one sentence.
            pub fn rule(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// Returns where the product has it.
            pub fn place(self) -> &'static str {
                match self {
                    $(Self::$name => $place,)+
                }
            }

            /// Returns a world in which its absence shows.
            pub fn bounds(self) -> Bounds {
                match self {
                    $(Self::$name => $bounds,)+
                }
            }

            fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

const fn within(controllers: u8, hosts: u8, log: u8, faults: u8) -> Bounds {
    let (agents_restart, beginning) = (false, Beginning::AllUp);
    Bounds { controllers, hosts, log, faults, steps: 0, boots: 2, agents_restart, beginning }
}

const fn fenced(controllers: u8, hosts: u8, log: u8, faults: u8) -> Bounds {
    Bounds { beginning: Beginning::FirstFenced, ..within(controllers, hosts, log, faults) }
}

guards! {
    /// A fence that timed out is not proven.
    TimeoutIsNoProof, "timeout-is-no-proof", "raft/machine/src/state/fence.rs, result", within(1, 2, 4, 1);
    /// A device that accepted the order to switch off has not switched off.
    AcceptedIsNotOff, "accepted-is-not-off", "node/drivers/src/fencing/sequence.rs, prove_off", within(1, 2, 4, 1);
    /// A result counts for the fence and the permit that it was made under.
    ResultOfItsFence, "result-of-its-fence", "raft/machine/src/state/fence.rs, result", Bounds { beginning: Beginning::LateResult, ..within(2, 2, 4, 1) };
    /// An executor looks at its leadership and its permit right before it sends off.
    PermitBeforeOff, "permit-before-off", "node/src/executor/fence.rs, switch_off", Bounds { steps: 2, ..within(2, 2, 8, 2) };
    /// Nothing is switched off without a permit that a quorum committed.
    PermitFromTheLog, "permit-from-the-log", "node/src/executor/fence.rs, ask_permit", Bounds { steps: 1, ..within(2, 2, 8, 2) };
    /// A host starts nothing by itself when it boots.
    NoAutostart, "no-autostart", "node/drivers/src/hypervisor/libvirt, transient domains", fenced(1, 2, 2, 0);
    /// A host is admitted only after every order of its fence has arrived or is lost.
    AdmissionWaits, "admission-waits", "raft/machine/src/state/host.rs, admission_waits_for", within(1, 2, 7, 1);
    /// An assignment ends when its target is proven dead, and not when it is only suspected.
    SuspicionEndsNothing, "suspicion-ends-nothing", "raft/machine/src/state/recovery.rs, open", fenced(1, 3, 4, 1);
    /// A start names the boot that it is meant for, and the agent refuses it in another.
    StartNamesItsBoot, "start-names-its-boot", "raft/machine/src/agent.rs, ordered", fenced(1, 3, 7, 1);
    /// A refusal is final for its token, however often the order arrives.
    RefusalIsFinal, "refusal-is-final", "raft/machine/src/agent.rs, close", fenced(1, 3, 3, 1);
    /// What an agent refused it refuses also after its restart.
    RefusalOutlivesAgent, "refusal-outlives-agent", "node/src/agent.rs, keep", Bounds { agents_restart: true, ..fenced(2, 3, 3, 3) };
    /// An instance that is assigned is not assigned again until that start has ended.
    OneAssignment, "one-assignment", "raft/machine/src/state/recovery.rs, check_move", fenced(2, 3, 2, 2);
    /// The fence of a target ends its assignment, even when no other host is left.
    TargetFenceEndsIt, "target-fence-ends-it", "raft/machine/src/state/recovery.rs, open", fenced(1, 2, 6, 1);
    /// When every host was lost, one may return although instances still belong to it.
    TotalLossHasAPath, "total-loss-has-a-path", "raft/machine/src/state/host.rs, instances_left", Bounds { steps: 1, ..fenced(1, 2, 9, 1) };
    /// A host that is up in another boot than the admitted one has failed.
    RebootIsAFailure, "reboot-is-a-failure", "raft/machine/src/state/host.rs, report", within(1, 2, 7, 1);
}

impl Guard {
    /// Returns what is out of reach without it, where nothing breaks; `None` where something does.
    pub fn goal(self) -> Option<&'static str> {
        match self {
            Self::TotalLossHasAPath => Some(promise::TOTAL_LOSS),
            Self::RebootIsAFailure => Some(promise::REBOOT),
            Self::TimeoutIsNoProof
            | Self::AcceptedIsNotOff
            | Self::ResultOfItsFence
            | Self::PermitBeforeOff
            | Self::PermitFromTheLog
            | Self::NoAutostart
            | Self::AdmissionWaits
            | Self::SuspicionEndsNothing
            | Self::StartNamesItsBoot
            | Self::RefusalIsFinal
            | Self::RefusalOutlivesAgent
            | Self::OneAssignment
            | Self::TargetFenceEndsIt => None,
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

/// That no guard has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no guard; there are {names}", names = Guard::ALL.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct UnknownGuard(String);

impl FromStr for Guard {
    type Err = UnknownGuard;

    fn from_str(text: &str) -> Result<Self, UnknownGuard> {
        let found = Self::ALL.iter().find(|guard| guard.text() == text);
        found.copied().ok_or_else(|| UnknownGuard(text.into()))
    }
}
