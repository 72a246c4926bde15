//! Stall points: named places at which the world may hold a task.
//!
//! Between any two steps of a protocol a real machine may stand still for seconds: a page fault, a busy disk, a scheduler.
//! Chance alone rarely hits the gap that matters, so the gaps have names. Production passes them without a stop; a
//! simulation and a laboratory may hold whoever comes by.

use std::fmt;
use std::str::FromStr;

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $point:ident = $name:literal,)+) => {
        /// A place at which the world may hold a task.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $($(#[doc = $doc])+ $point,)+
        }

        impl Point {
            /// All points, in the order in which this file explains them.
            pub const ALL: &'static [Self] = &[$(Self::$point,)+];

            /// Returns the name by which scripts and laboratories know the point.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)+
                }
            }
        }
    };
}

points! {
    /// A controller is about to ask the leader for a change.
    ProposeBeforeAsk = "propose-before-ask",
    /// The leader's answer to a proposal is there, and its caller does not know it yet.
    ProposeBeforeAnswer = "propose-before-answer",
    /// The leader has stamped a command, which is not in its log yet.
    ProposeBeforeWrite = "propose-before-write",
    /// The leader's entry is applied, and nobody was told.
    ProposeAfterWrite = "propose-after-write",
    /// A linearizable read is about to ask for the read index.
    ReadBeforeIndex = "read-before-index",
    /// The read index is known, and the state is not looked at yet.
    ReadAfterIndex = "read-after-index",
    /// Entries or a heartbeat arrived, and are not handled.
    AppendBeforeHandle = "append-before-handle",
    /// Entries are in the log, and the leader does not know.
    AppendBeforeReply = "append-before-reply",
    /// Somebody asks for a vote.
    VoteBeforeHandle = "vote-before-handle",
    /// The vote is given and durable, and the candidate does not know.
    VoteBeforeReply = "vote-before-reply",
    /// Somebody asks whether it could win an election.
    PreVoteBeforeHandle = "pre-vote-before-handle",
    /// A snapshot arrived whole.
    InstallBeforeHandle = "install-before-handle",
    /// A snapshot is published as a file, and the records are the old ones.
    InstallBeforeRecords = "install-before-records",
    /// The records are the snapshot's, and the state in memory is the old one.
    InstallBeforeState = "install-before-state",
    /// The snapshot is installed, and the leader does not know.
    InstallBeforeReply = "install-before-reply",
    /// The leader asks this voter to take over.
    TransferBeforeHandle = "transfer-before-handle",
    /// Committed entries arrived at the state machine.
    ApplyBeforeEntries = "apply-before-entries",
    /// Entries are applied in memory, and the records are not written.
    ApplyBeforePersist = "apply-before-persist",
    /// The records are written, and nobody was answered.
    ApplyBeforeAnswers = "apply-before-answers",
    /// A snapshot's view of the records is taken, and its file is not written.
    SnapshotBeforePublish = "snapshot-before-publish",
    /// A change of members is about to be proposed.
    MembersBeforeChange = "members-before-change",
    /// The leader is about to hand over.
    HandOverBeforeTransfer = "hand-over-before-transfer",

    /// A controller has just begun to lead.
    LeadBeforeFirstDecision = "lead-before-first-decision",
    /// A decision is about to be proposed.
    DecisionBeforePropose = "decision-before-propose",
    /// A piece of work was taken, and nothing is done for it.
    WorkBeforeBegin = "work-before-begin",
    /// A fence's attempt may begin, and no permit was asked for.
    FenceBeforePermit = "fence-before-permit",
    /// The permit is granted, and no device was spoken to.
    FenceAfterPermit = "fence-after-permit",
    /// The power was read on, and the permit is about to be looked at for the last time.
    FenceBeforePermitCheck = "fence-before-permit-check",
    /// All devices answered, and nothing of it is in the log.
    FenceBeforeResult = "fence-before-result",
    /// A start is about to be ordered.
    StartBeforeOrder = "start-before-order",
    /// The agent answered a start, and nothing of it is in the log.
    StartBeforeResult = "start-before-result",
    /// A stray copy is about to be ordered to stop.
    StopBeforeOrder = "stop-before-order",
    /// A result is about to be proposed, or proposed again.
    ResultBeforePropose = "result-before-propose",
    /// Votes are decided on, and not proposed.
    VotesBeforeCast = "votes-before-cast",
    /// Votes are in the log, and their caster does not know.
    VotesAfterCast = "votes-after-cast",
    /// A device is about to be asked for evidence.
    EvidenceBeforeLook = "evidence-before-look",
    /// A device answered for evidence, and the answer is not in the view.
    EvidenceAfterLook = "evidence-after-look",

    /// An agent is about to call a controller.
    AgentBeforeCall = "agent-before-call",
    /// An agent is about to ask who holds an instance.
    AgentBeforeHolder = "agent-before-holder",
    /// An agent knows who holds an instance, and has not acted on it.
    AgentAfterHolder = "agent-after-holder",
    /// The hypervisor is about to be told to start an instance.
    AgentBeforeStart = "agent-before-start",
    /// The hypervisor answered a start, and the agent has not answered the controller.
    AgentAfterStart = "agent-after-start",
    /// The hypervisor is about to be told to stop an instance.
    AgentBeforeStop = "agent-before-stop",
    /// The hypervisor answered a stop, and the agent has not answered the controller.
    AgentAfterStop = "agent-after-stop",
    /// What an agent refused is about to be written to its disk.
    AgentBeforeKeep = "agent-before-keep",
    /// What an agent refused is on its disk, and nobody was answered.
    AgentAfterKeep = "agent-after-keep",
    /// The hypervisor is about to be asked for its instances.
    AgentBeforeInventory = "agent-before-inventory",
    /// The hypervisor listed its instances, and the report is the old one.
    AgentAfterInventory = "agent-after-inventory",
}

impl Point {
    /// Returns whether agents come by here; controllers come by everywhere else.
    pub fn is_of_agents(self) -> bool {
        self.name().starts_with("agent-")
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No point has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no stall point '{0}'")]
pub struct UnknownPoint(pub String);

impl FromStr for Point {
    type Err = UnknownPoint;

    fn from_str(name: &str) -> Result<Self, UnknownPoint> {
        let found = Self::ALL.iter().copied().find(|point| point.name() == name);
        found.ok_or_else(|| UnknownPoint(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_point() {
        for point in Point::ALL {
            assert_eq!(point.name().parse(), Ok(*point));
        }
        let mut names: Vec<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
        assert_eq!("nowhere".parse::<Point>(), Err(UnknownPoint("nowhere".into())));
    }
}
