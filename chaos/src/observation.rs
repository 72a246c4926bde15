//! What the court sees. Worlds write it down, and nothing else is evidence.

use std::fmt;

use quorumfence_machine::{
    BootId, ControllerId, Event, HostId, InstanceId, LogIndex, Millis, Segment, Settings, Token,
};
use serde::{Deserialize, Serialize};

/// One thing that was seen, with the time of the world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// When, since the world opened.
    pub at: Millis,
    /// What.
    pub seen: Seen,
}

/// What was seen. Hardware tells the truth; controllers and clients tell what they did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "seen", rename_all = "kebab-case")]
pub enum Seen {
    /// The run begins. First in every history.
    Opened {
        /// What the run is called: a seed or a story.
        run: String,
        /// The settings that the cluster was given.
        settings: Settings,
        /// The one segment that all hosts are in.
        segment: Segment,
    },
    /// A host lost its power, and with it everything that ran there.
    PowerOff { host: HostId, cause: Cause },
    /// A host got its power back, in a new boot.
    PowerOn { host: HostId, boot: BootId },
    /// A host's BMC took an off order. It may obey later, or never.
    OffTaken { host: HostId },
    /// An instance began to run. The token is that of the start order; none when the product did not order it.
    Started { instance: InstanceId, host: HostId, token: Option<Token> },
    /// An instance ended, by order or with its host.
    Ended { instance: InstanceId, host: HostId },
    /// A controller sent an off order on its way to a host's BMC.
    OffSent { controller: ControllerId, host: HostId },
    /// A controller applied an entry of its log.
    Applied {
        controller: ControllerId,
        index: LogIndex,
        /// A hash of what the entry says: replicas whose entries differ are convicted by contents, not by ids.
        content: u64,
        /// What it changed.
        events: Vec<Event>,
        /// A fingerprint of the whole state behind it, for some of the entries.
        digest: Option<String>,
    },
    /// A controller's state was replaced by a snapshot that ends at this entry.
    Installed { controller: ControllerId, index: LogIndex },
    /// A controller stopped.
    Stopped { controller: ControllerId, why: Stop },
    /// A controller runs, with what its disk says it has applied.
    Running { controller: ControllerId, applied: LogIndex },
    /// A client sent a request through a controller.
    Called { call: u64, controller: ControllerId, request: Request },
    /// The client was answered. A call that nobody answers is unknown for ever.
    Answered { call: u64, answer: Answer },
    /// The nemesis did something, in the words of the script.
    Fault { what: String },
    /// Every fault is healed; liveness counts from here.
    Healed,
    /// The run ends.
    Closed,
}

/// Who cut a host's power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Its BMC, on order.
    Bmc,
    /// Somebody or something outside the product.
    Outside,
}

/// Why a controller stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Its process was killed; the kernel kept what it wrote.
    Killed,
    /// Its power was cut; what was not synced is lost.
    PowerCut,
    /// It ended itself, for this reason.
    Itself(String),
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// A change whose event carries this text, which no other change of the run carries.
    Write { text: String },
    /// A linearizable read of the last applied entry.
    Read,
}

/// What a client was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The change is committed at this entry.
    Written(LogIndex),
    /// The read saw everything up to this entry.
    Read(LogIndex),
    /// Nothing was changed.
    Refused(String),
    /// It may or may not have happened.
    Unknown(String),
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.at.0 / 1000, self.at.0 % 1000);
        write!(f, "{seconds:>5}.{millis:03}  {}", self.seen)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { run, .. } => write!(f, "run {run} begins"),
            Self::PowerOff { host, cause: Cause::Bmc } => write!(f, "{host} goes off, by its BMC"),
            Self::PowerOff { host, cause: Cause::Outside } => write!(f, "{host} loses its power"),
            Self::PowerOn { host, boot } => write!(f, "{host} goes on, boot {boot}"),
            Self::OffTaken { host } => write!(f, "the BMC of {host} takes an off order"),
            Self::Started { instance, host, token: Some(token) } => {
                write!(f, "{instance} runs on {host}, token {token}")
            }
            Self::Started { instance, host, token: None } => write!(f, "{instance} runs on {host}"),
            Self::Ended { instance, host } => write!(f, "{instance} ends on {host}"),
            Self::OffSent { controller, host } => write!(f, "{controller} sends off to the BMC of {host}"),
            Self::Applied { controller, index, events, .. } => {
                write!(f, "{controller} applies {index}")?;
                events.iter().try_for_each(|event| write!(f, "; {event}"))
            }
            Self::Installed { controller, index } => write!(f, "{controller} installs a snapshot up to {index}"),
            Self::Stopped { controller, why: Stop::Killed } => write!(f, "{controller} is killed"),
            Self::Stopped { controller, why: Stop::PowerCut } => write!(f, "{controller} loses its power"),
            Self::Stopped { controller, why: Stop::Itself(why) } => write!(f, "{controller} ends itself: {why}"),
            Self::Running { controller, applied } => write!(f, "{controller} runs, applied up to {applied}"),
            Self::Called { call, controller, request: Request::Write { text } } => {
                write!(f, "call {call} at {controller}: write {text:?}")
            }
            Self::Called { call, controller, request: Request::Read } => write!(f, "call {call} at {controller}: read"),
            Self::Answered { call, answer: Answer::Written(index) } => write!(f, "call {call}: written at {index}"),
            Self::Answered { call, answer: Answer::Read(index) } => write!(f, "call {call}: read up to {index}"),
            Self::Answered { call, answer: Answer::Refused(why) } => write!(f, "call {call}: refused, {why}"),
            Self::Answered { call, answer: Answer::Unknown(why) } => write!(f, "call {call}: unknown, {why}"),
            Self::Fault { what } => write!(f, "fault: {what}"),
            Self::Healed => f.write_str("everything is healed"),
            Self::Closed => f.write_str("the run ends"),
        }
    }
}
