//! Outcomes: one message per thing that can be observed.

use quorumfence_machine::{InstanceState, OffSeen, Outcome, Power};

use super::{Error, byte, missing, number, plain_enum};
use crate::pb;

plain_enum!(Refusal {
    Credentials,
    Privilege,
    Insecure,
    WrongMachine,
    Unsupported,
    OldToken,
    WrongBoot,
    NotAssigned,
    Quarantined,
    Hypervisor,
    PermitEnded,
});
plain_enum!(Doubt { Timeout, Unreachable, Busy, Garbled, Ambiguous, Internal });
plain_enum!(Power { On, Off });
plain_enum!(InstanceState { Running, Stopped, Crashed, Moving, Migrated });

/// Converts one kind of outcome both ways; the observed value's own conversion is given for each way.
macro_rules! outcome {
    ($observed:ty, $message:ident, $module:ident, |$seen:ident| $write:expr, |$read:ident| $parse:expr) => {
        impl From<Outcome<$observed>> for pb::$message {
            fn from(outcome: Outcome<$observed>) -> Self {
                let kind = match outcome {
                    Outcome::Observed($seen) => pb::$module::Kind::Observed($write),
                    Outcome::Refused(refusal) => pb::$module::Kind::Refused(pb::Refusal::from(refusal).into()),
                    Outcome::Unknown(doubt) => pb::$module::Kind::Unknown(pb::Doubt::from(doubt).into()),
                };
                Self { kind: Some(kind) }
            }
        }

        impl TryFrom<pb::$message> for Outcome<$observed> {
            type Error = Error;
            fn try_from(message: pb::$message) -> Result<Self, Error> {
                Ok(match message.kind.ok_or_else(|| missing("kind"))? {
                    pb::$module::Kind::Observed($read) => Self::Observed($parse),
                    pb::$module::Kind::Refused(refusal) => Self::Refused(number::<pb::Refusal, _>(refusal, "refused")?),
                    pb::$module::Kind::Unknown(doubt) => Self::Unknown(number::<pb::Doubt, _>(doubt, "unknown")?),
                })
            }
        }
    };
}

outcome!((), DoneOutcome, done_outcome, |_seen| pb::Unit {}, |_read| ());
outcome!(OffSeen, OffOutcome, off_outcome, |seen| seen.into(), |read| {
    OffSeen::try_from(read).map_err(|error| error.within("observed"))?
});
outcome!(Power, PowerOutcome, power_outcome, |seen| pb::Power::from(seen).into(), |read| {
    number::<pb::Power, _>(read, "observed")?
});
outcome!(InstanceState, InstanceOutcome, instance_outcome, |seen| pb::InstanceState::from(seen).into(), |read| {
    number::<pb::InstanceState, _>(read, "observed")?
});

impl From<OffSeen> for pb::OffSeen {
    fn from(seen: OffSeen) -> Self {
        let OffSeen { reads, sessions, ordered } = seen;
        Self { reads: reads.into(), sessions: sessions.into(), ordered }
    }
}

impl TryFrom<pb::OffSeen> for OffSeen {
    type Error = Error;
    fn try_from(message: pb::OffSeen) -> Result<Self, Error> {
        let pb::OffSeen { reads, sessions, ordered } = message;
        Ok(Self { reads: byte(reads, "reads")?, sessions: byte(sessions, "sessions")?, ordered })
    }
}
