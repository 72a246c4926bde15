//! A person's word that a host is dead, and who would have to contradict it.

use super::super::apply::Effect;
use super::super::vote::CONDEMNS_FOR;
use super::{open, prove};
use crate::state::{CastVote, Host, HostState, State};
use crate::{
    Actor, BootId, ClusterTime, ControllerId, Event, HostId, LogIndex, Millis, Proof, ProofClass, Rejected, Reply,
    Token, Uncertainty, Verdict,
};

/// A controller that hears a host repeats so within this time after the host was lost: it votes several times a second,
/// and makes a proposal again that was not applied after two seconds.
const REPEAT_GRACE: Millis = Millis(5000);

/// What a person says, and knows.
pub(in crate::state) struct Word<'a> {
    /// Who.
    pub(in crate::state) by: &'a Actor,
    /// Why the person is sure.
    pub(in crate::state) reason: &'a str,
    /// The boot that the host had reported last when the person looked.
    pub(in crate::state) boot: Option<BootId>,
}

/// A person's word is taken only about a host that the quorum has lost and that no voter hears.
///
/// It is about the boot that the person knew of. While no quorum took the word, the host may have come up in another one.
///
/// A voter hears it when it voted alive after the host was lost. A vote from before may be a dead controller's last
/// word: a living one repeats it as soon as it learns of the loss, and gets `REPEAT_GRACE` to do so. While most voters
/// cannot tell, a living one repeats it too, more slowly.
pub(in crate::state) fn confirm_dead(state: &mut State, at: LogIndex, name: &HostId, word: Word<'_>) -> Effect {
    let Actor::Operator(operator) = word.by else {
        return Err(Rejected::Invalid("only an operator can confirm that a host is dead".into()));
    };
    if !state.settings().proofs.contains(&ProofClass::Human) {
        return Err(Rejected::Invalid("the settings do not accept a person's word as proof".into()));
    }
    let host = state.hosts.get(name).ok_or_else(|| Rejected::UnknownHost(name.clone()))?;
    if host.agent.as_ref().zip(word.boot).is_some_and(|(agent, boot)| agent.boot != boot) {
        return Err(Rejected::Invalid(format!(
            "host {name} has come up in another boot since you looked; your word is about the boot before. 'quorumfence host show {name}' shows how it is. If it is dead again, say so again"
        )));
    }
    let lost = match host.state {
        HostState::Lost { boot, at } => Some((boot, at)),
        HostState::Fencing { .. } => None,
        HostState::Fenced { token } => match returned(state, host, token) {
            // It came back and may run what it listed; nothing fences a boot that was never admitted.
            Some(boot) => Some((boot, at)),
            None => return Ok((Reply::Done, Vec::new())),
        },
        // After a power cut of everything no controller has seen it yet; and while most hosts are silent, as when a feed
        // fails with the BMCs on it, each takes itself for cut off. No majority can call it lost then. A person may.
        HostState::Up { boot } if unclear_since(state, host).is_some() => Some((boot, at)),
        HostState::New | HostState::Up { .. } => return Err(Rejected::HostLives(name.clone())),
    };
    let hearing = who_hears(state, host);
    if !hearing.is_empty() {
        let names: Vec<String> = hearing.iter().map(ToString::to_string).collect();
        return Err(Rejected::Invalid(format!(
            "{} heard host {name} alive; a host that runs must not be called dead. Power it off by hand and try again in {} s; a controller that died is not counted any more {} s after the others stopped hearing the host",
            names.join(", "),
            REPEAT_GRACE.0 / 1000,
            CONDEMNS_FOR.0 / 1000,
        )));
    }
    let mut events = Vec::new();
    let token = match (lost, host.fence()) {
        (Some((boot, lost_at)), _) => {
            let token = open(state, at, name, boot, lost_at);
            events.push(Event::FenceDecided { host: name.clone(), token });
            token
        }
        (None, Some(token)) => token,
        (None, None) => return Err(Rejected::HostLives(name.clone())),
    };
    let proof = Proof::Human { operator: operator.clone(), reason: word.reason.into() };
    events.extend(prove(state, at, token, proof, at));
    Ok((Reply::Fence(token), events))
}

/// Returns the boot that a fenced host has reported since.
fn returned(state: &State, host: &Host, token: Token) -> Option<BootId> {
    let fenced = state.fences.get(&token)?.boot;
    host.agent.as_ref().map(|agent| agent.boot).filter(|boot| Some(*boot) != fenced)
}

fn who_hears(state: &State, host: &Host) -> Vec<ControllerId> {
    let lost_at = state.lost_at(host).filter(|lost_at| {
        let clock = state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock);
        let loss = state.events.values().find(|row| row.at >= *lost_at);
        loss.is_some_and(|loss| clock.since(loss.clock) >= REPEAT_GRACE)
    });
    // What was said about a boot that is proven over says nothing about the one that came after it.
    let is_over = |boot| matches!(host.state, HostState::Fenced { .. }) && state.is_fenced_boot(&host.id, boot);
    let clock = state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock);
    let is_old = |at: ClusterTime| clock.since(at) > CONDEMNS_FOR;
    let is_long_unclear = unclear_since(state, host).is_some_and(is_old);
    let hears = |vote: &&CastVote| match vote.verdict {
        Verdict::Alive { boot } => {
            let may_be_dead = is_long_unclear && is_old(vote.clock);
            !is_over(boot) && !may_be_dead && lost_at.is_none_or(|lost_at| vote.at > lost_at)
        }
        Verdict::Unreachable | Verdict::PoweredOff | Verdict::CannotTell(_) => false,
    };
    host.votes.iter().filter(|(_, vote)| hears(vote)).map(|(voter, _)| *voter).collect()
}

/// Returns since when a majority of voters does not hear a host that is up, or came back: they see it dead, never saw it
/// since they started, or are cut off from most hosts.
pub(crate) fn unclear_since(state: &State, host: &Host) -> Option<ClusterTime> {
    let is_in_question = match host.state {
        HostState::Up { .. } => true,
        HostState::Fenced { token } => returned(state, host, token).is_some(),
        HostState::New | HostState::Lost { .. } | HostState::Fencing { .. } => false,
    };
    if !is_in_question {
        return None;
    }
    let is_unclear = |verdict| match verdict {
        Verdict::CannotTell(Uncertainty::NeverSeen | Uncertainty::CutOff)
        | Verdict::Unreachable
        | Verdict::PoweredOff => true,
        Verdict::CannotTell(Uncertainty::AgentSilent) | Verdict::Alive { .. } => false,
    };
    let unclear = host.votes.values().filter(|vote| is_unclear(vote.verdict));
    let mut since: Vec<ClusterTime> = unclear.map(|vote| vote.clock).collect();
    since.sort_unstable();
    since.get(state.cluster()?.majority().checked_sub(1)?).copied()
}
