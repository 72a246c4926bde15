//! Fences: from the decision over permits and attempts to the proof.

mod attempt;
mod word;

use std::fmt;

use serde::{Deserialize, Serialize};

use std::collections::BTreeSet;

use self::attempt::Failed;
pub(crate) use self::word::unclear_since;
pub(super) use self::word::{Word, confirm_dead};
use super::apply::Effect;
use super::{AgentFacts, Host, HostState, State, recovery, vote};
use crate::policy::guard;
use crate::{
    BootId, ClusterTime, ControllerId, Event, FenceWork, HostId, LogIndex, Millis, OffSeen, Outcome, Refusal, Rejected,
    Reply, STORM_WINDOW_MAX, Settings, Token, Work,
};

/// Permits remembered per fence; the oldest go first.
const PERMITS_MAX: usize = 64;

/// A host that is heard in another boot gets this long to report it, which proves the old boot over without cutting power.
const REPORT_GRACE: Millis = Millis(5000);

/// Proven fences that are remembered for `fence status`.
const FENCES_MAX: usize = 1000;

/// One fence, named by the log index of its decision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The decision.
    pub token: Token,
    /// The host.
    pub host: HostId,
    /// The boot that is fenced; `None` when the host never reported one.
    pub boot: Option<BootId>,
    /// The entry that made the host lost: the decision rests on it.
    pub lost_at: LogIndex,
    /// When it was decided.
    pub decided: ClusterTime,
    /// The level in use, from 0.
    pub level: u8,
    /// The number of the next attempt, from 1, over all levels.
    pub attempt: u32,
    /// Failed attempts at this level in this round.
    pub failed: u32,
    /// Levels whose devices refused; they are not asked again until the host is enrolled anew (rule 11).
    pub refused: BTreeSet<u8>,
    /// The next attempt waits for this.
    pub not_before: ClusterTime,
    /// The voter that makes the next attempt; `None` is whoever leads.
    pub executor: Option<ControllerId>,
    /// Every permit given, oldest first.
    pub permits: Vec<Permit>,
    /// How far it is.
    pub stage: Stage,
    /// Instances that run again because of it.
    pub started: u32,
}

/// Leave to act, for one executor and a bounded time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Permit {
    /// The entry that gave it; its name.
    pub at: LogIndex,
    /// Who may act.
    pub executor: ControllerId,
    /// The level that it covers.
    pub level: u8,
    /// When it has ended for sure: at the end of its life, or earlier when its executor said that it stopped.
    pub ends: ClusterTime,
    /// How long after that a late order may still arrive, as it was when the permit was given.
    pub late_delivery: Millis,
    /// Whether its executor said that it stopped.
    pub ended: bool,
}

/// How far a fence is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stage {
    /// Levels are being tried.
    Working,
    /// Every level was tried; they are tried again slowly until one proves it or a person confirms.
    NeedsHuman,
    /// The host is proven unable to run.
    Proven {
        /// The entry that proved it.
        at: LogIndex,
        /// The proof.
        proof: Proof,
    },
}

/// Why a host cannot run. Recovery cannot be planned without one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Proof {
    /// Every device of a level read Off twice, in separate sessions, after the decision.
    PowerOffVerified {
        /// The level, from 0.
        level: u8,
        /// Whether off had to be ordered; false when the host was found off.
        ordered: bool,
    },
    /// The host reports another boot.
    NewBootId {
        /// The new boot.
        boot: BootId,
    },
    /// A person vouches for it.
    Human {
        /// Who.
        operator: String,
        /// Why.
        reason: String,
    },
}

/// The kind of a proof; settings say which are enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProofClass {
    /// Power read Off twice.
    PowerOffVerified,
    /// A new boot id.
    NewBootId,
    /// A person.
    Human,
}

impl Proof {
    /// Returns the kind of this proof.
    pub const fn class(&self) -> ProofClass {
        match self {
            Self::PowerOffVerified { .. } => ProofClass::PowerOffVerified,
            Self::NewBootId { .. } => ProofClass::NewBootId,
            Self::Human { .. } => ProofClass::Human,
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOffVerified { level, ordered: true } => {
                write!(f, "powered off and read off twice, level {}", level + 1)
            }
            Self::PowerOffVerified { level, ordered: false } => {
                write!(f, "found off and read off twice, level {}", level + 1)
            }
            Self::NewBootId { boot } => write!(f, "it reports a new boot {boot}"),
            Self::Human { operator, reason } => write!(f, "{operator} vouches: {reason}"),
        }
    }
}

impl Fence {
    /// Returns whether no permit of this fence can still cause anything at `clock`.
    pub fn quiet(&self, clock: ClusterTime, settings: &Settings) -> bool {
        let late = |permit: &Permit| permit.late_delivery.max(settings.late_delivery);
        self.permits.iter().all(|permit| clock >= permit.ends.after(late(permit)))
    }
}

/// What an executor asks leave for.
pub(super) struct Request {
    pub(super) executor: ControllerId,
    pub(super) level: u8,
    pub(super) life: Millis,
}

pub(super) fn decide(state: &mut State, at: LogIndex, name: &HostId, lost_at: LogIndex) -> Effect {
    let host = state.hosts.get(name).ok_or_else(|| Rejected::UnknownHost(name.clone()))?;
    let boot = match host.state {
        HostState::Lost { boot, at } if at == lost_at => boot,
        HostState::Lost { .. }
        | HostState::New
        | HostState::Up { .. }
        | HostState::Fencing { .. }
        | HostState::Fenced { .. } => return Err(Rejected::NoParent(lost_at)),
    };
    if let Some(reason) = guard::holds(state, host) {
        return Err(Rejected::Held(reason));
    }
    let needs_power = guard::needs_power(state, host);
    let token = open(state, at, name, boot, lost_at);
    if let Some(cluster) = state.cluster.get_mut(&())
        && needs_power
    {
        // Kept for the longest window that there may be, and not for the present one: a window that is shortened for a
        // moment forgets nothing.
        let clock = cluster.clock;
        cluster.decided.retain(|decided| clock.since(*decided) < STORM_WINDOW_MAX);
        cluster.decided.push(clock);
    }
    Ok((Reply::Fence(token), vec![Event::FenceDecided { host: name.clone(), token }]))
}

/// Opens a fence. One that follows another, before its host was admitted again, waits for that one's permits too.
fn open(state: &mut State, at: LogIndex, name: &HostId, boot: BootId, lost_at: LogIndex) -> Token {
    let former = state.hosts.get(name).and_then(Host::fence).and_then(|token| state.fences.get(&token));
    let permits = former.map(|fence| fence.permits.clone()).unwrap_or_default();
    recovery::keep_unsettled(state, name);
    forget_oldest(state);
    let token = Token(at);
    let grace = if vote::another_boot_is_heard(state, name, boot) { REPORT_GRACE } else { Millis::ZERO };
    let decided = state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock);
    let fence = Fence {
        token,
        host: name.clone(),
        boot: Some(boot),
        lost_at,
        decided,
        level: 0,
        attempt: 1,
        failed: 0,
        refused: BTreeSet::new(),
        not_before: decided.after(grace),
        executor: None,
        permits,
        stage: Stage::Working,
        started: 0,
    };
    state.fences.insert(token, fence);
    if let Some(host) = state.hosts.get_mut(name) {
        host.state = HostState::Fencing { token };
    }
    token
}

fn forget_oldest(state: &mut State) {
    if state.fences.len() < FENCES_MAX {
        return;
    }
    let in_use: BTreeSet<Token> = state
        .hosts
        .values()
        .filter_map(|host| host.fence())
        .chain(state.instances.values().filter_map(|row| row.recovery.as_ref().map(|recovery| recovery.fence)))
        .chain(state.instances.values().filter_map(|row| row.may_have_died.as_ref().map(|death| death.fence)))
        .collect();
    let oldest = state.fences.keys().find(|token| !in_use.contains(token)).copied();
    if let Some(token) = oldest {
        state.fences.remove(&token);
    }
}

pub(super) fn grant(state: &mut State, at: LogIndex, token: Token, request: Request) -> Effect {
    let cluster = state.cluster().ok_or(Rejected::NoCluster)?;
    if !cluster.voters.contains(&request.executor) {
        return Err(Rejected::NotAVoter(request.executor));
    }
    if request.life > cluster.settings.permit_life {
        return Err(Rejected::Invalid("the permit asks for a longer life than the settings allow".into()));
    }
    let clock = cluster.clock;
    let settings = state.settings();
    let outlived = state
        .fences
        .get(&token)
        .is_some_and(|fence| state.hosts.get(&fence.host).is_some_and(|host| fence.is_outlived(host, &settings)));
    let fence = open_fence(state, token)?;
    if fence.level != request.level || outlived {
        return Err(Rejected::NoParent(token.0));
    }
    if fence.permits.len() >= PERMITS_MAX {
        // What it may still cause is waited for with the next one.
        let oldest = fence.permits.remove(0);
        if let Some(next) = fence.permits.first_mut() {
            let quiet = oldest.ends.after(oldest.late_delivery);
            next.late_delivery = next.late_delivery.max(quiet.since(next.ends));
        }
    }
    fence.permits.push(Permit {
        at,
        executor: request.executor,
        level: request.level,
        ends: clock.after(request.life),
        late_delivery: settings.late_delivery,
        ended: false,
    });
    let (host, attempt) = (fence.host.clone(), fence.attempt);
    let event = Event::PermitGranted { host, token, executor: request.executor, level: request.level, attempt };
    Ok((Reply::Permit(at), vec![event]))
}

/// Off counts when every device of the level was read Off twice in separate sessions. Everything else is a failed
/// attempt: neither a timeout nor an accepted order is a proof (rules 1 to 4).
pub(super) fn result(
    state: &mut State,
    at: LogIndex,
    token: Token,
    permit: LogIndex,
    outcomes: &[Outcome<OffSeen>],
) -> Effect {
    let cluster = state.cluster().ok_or(Rejected::NoCluster)?.clone();
    let host = open_fence(state, token)?.host.clone();
    let devices = |level: u8| {
        let enrolment = state.hosts.get(&host).and_then(|row| row.enrolment.as_ref());
        enrolment.and_then(|row| row.levels.get(usize::from(level))).map_or(0, |level| level.devices.len())
    };
    let fence = state.fences.get(&token).ok_or(Rejected::NoParent(token.0))?;
    let given = fence.permits.iter().find(|given| given.at == permit && !given.ended);
    let &Permit { level, executor, .. } = given.ok_or(Rejected::NoParent(permit))?;
    let complete = outcomes.len() == devices(level) && !outcomes.is_empty();
    // A refusal among doubts decides: a device that refused its password is not asked again.
    let bad: Vec<Outcome<()>> = outcomes.iter().filter_map(not_off).collect();
    let doubt = bad.iter().find(|outcome| matches!(outcome, Outcome::Refused(_))).or(bad.first()).cloned();
    let levels = state.hosts.get(&host).and_then(|row| row.enrolment.as_ref()).map_or(0, |row| row.levels.len());

    let fence = open_fence(state, token)?;
    for given in fence.permits.iter_mut().filter(|given| given.at == permit) {
        given.ended = true;
        given.ends = given.ends.min(cluster.clock);
    }
    if complete && doubt.is_none() && cluster.settings.proofs.contains(&ProofClass::PowerOffVerified) {
        let ordered = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Observed(seen) if seen.ordered));
        let proof = Proof::PowerOffVerified { level, ordered };
        return Ok((Reply::Done, prove(state, at, token, proof, permit)));
    }
    let why = doubt.unwrap_or(Outcome::Observed(()));
    let is_doubtful = |outcome: &Outcome<()>| match outcome {
        Outcome::Unknown(_) | Outcome::Refused(Refusal::PermitEnded) => true,
        Outcome::Observed(()) | Outcome::Refused(_) => false,
    };
    let failed = Failed { why: &why, in_doubt: bad.iter().any(is_doubtful), executor };
    let mut events = vec![Event::FenceAttemptFailed { host: host.clone(), token, level, why: why.clone() }];
    if fence.level == level && fence.attempt_failed(failed, levels, &cluster) {
        events.push(Event::FenceNeedsHuman { host, token });
    }
    Ok((Reply::Done, events))
}

/// Returns why an outcome does not show its device off; `None` when it does.
fn not_off(outcome: &Outcome<OffSeen>) -> Option<Outcome<()>> {
    match outcome {
        Outcome::Observed(seen) if seen.reads >= 2 && seen.sessions >= 2 => None,
        Outcome::Observed(_) => Some(Outcome::Observed(())),
        Outcome::Refused(refusal) => Some(Outcome::Refused(*refusal)),
        Outcome::Unknown(doubt) => Some(Outcome::Unknown(*doubt)),
    }
}

impl Fence {
    /// Returns whether the host reports another boot, which the settings take for a proof: then no power is cut.
    fn is_outlived(&self, host: &Host, settings: &Settings) -> bool {
        let reported = host.agent.as_ref().map(|agent| agent.boot);
        settings.proofs.contains(&ProofClass::NewBootId) && reported.is_some() && reported != self.boot
    }
}

pub(super) fn new_boot(state: &mut State, at: LogIndex, token: Token, boot: BootId) -> Effect {
    let settings = state.settings();
    let (host, fenced_boot) = {
        let fence = open_fence(state, token)?;
        (fence.host.clone(), fence.boot)
    };
    let reported = state.hosts.get(&host).and_then(|row| row.agent.as_ref()).map(|agent| agent.boot);
    if reported != Some(boot) || fenced_boot == Some(boot) {
        return Err(Rejected::WrongBoot(host));
    }
    if !settings.proofs.contains(&ProofClass::NewBootId) {
        return Err(Rejected::Invalid("the settings do not accept a new boot id as proof".into()));
    }
    Ok((Reply::Done, prove(state, at, token, Proof::NewBootId { boot }, LogIndex::default())))
}

fn open_fence(state: &mut State, token: Token) -> Result<&mut Fence, Rejected> {
    let proven = state.fences.get(&token).is_none_or(|fence| matches!(fence.stage, Stage::Proven { .. }));
    if proven {
        return Err(Rejected::NoParent(token.0));
    }
    state.fences.get_mut(&token).ok_or(Rejected::NoParent(token.0))
}

/// Takes a proof that was made after an entry. A boot that came up by itself and reported before that is over, too; one that
/// reported since may have come up after the power was read.
fn prove(state: &mut State, at: LogIndex, token: Token, proof: Proof, after: LogIndex) -> Vec<Event> {
    let Some(fence) = state.fences.get_mut(&token) else { return Vec::new() };
    fence.stage = Stage::Proven { at, proof: proof.clone() };
    fence.executor = None;
    let (name, boot) = (fence.host.clone(), fence.boot);
    if let Some(host) = state.hosts.get_mut(&name) {
        host.state = HostState::Fenced { token };
    }
    let mut events = recovery::open(state, at, &name, token);
    let facts = state.hosts.get_mut(&name).and_then(|host| host.agent.as_mut());
    let is_over = |facts: &&mut AgentFacts| Some(facts.boot) != boot && facts.boot_at < after;
    facts.into_iter().filter(is_over).for_each(AgentFacts::all_is_over);
    events.push(Event::HostFenced { host: name, token, proof });
    events
}

/// Returns the attempts to make now.
pub(super) fn work(state: &State) -> Vec<Work> {
    let open = state.fences.values().filter(|fence| !matches!(fence.stage, Stage::Proven { .. }));
    let settings = state.settings();
    open.filter(|fence| !fence.refused.contains(&fence.level))
        .filter_map(|fence| {
            let host = state.hosts.get(&fence.host).filter(|host| !fence.is_outlived(host, &settings))?;
            let level = host.enrolment.as_ref()?.levels.get(usize::from(fence.level))?;
            Some(Work::Fence(FenceWork {
                token: fence.token,
                host: fence.host.clone(),
                level: fence.level,
                attempt: fence.attempt,
                not_before: fence.not_before,
                executor: fence.executor,
                identity: host.agent.as_ref().and_then(|agent| agent.system_uuid),
                devices: level.devices.clone(),
            }))
        })
        .collect()
}

/// Gives attempts of controllers that are no voters any more back to whoever leads.
pub(super) fn voters_changed(state: &mut State) {
    let Some(voters) = state.cluster().map(|cluster| cluster.voters.clone()) else { return };
    let has_left = |fence: &&Fence| fence.executor.is_some_and(|executor| !voters.contains(&executor));
    let orphans: Vec<Token> = state.fences.values().filter(has_left).map(|fence| fence.token).collect();
    for token in orphans {
        if let Some(fence) = state.fences.get_mut(&token) {
            fence.executor = None;
        }
    }
}

fn small(count: usize) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}
