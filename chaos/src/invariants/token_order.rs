//! S3: tokens only grow, and nobody acts on an older one after a newer one.

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{Event, HostId, InstanceId, Token};

use super::Promise;
use super::committed::{Committed, Entry};
use crate::observation::{Observation, Seen};

/// Judges S3: a token is the index of its own entry; permits, proofs and starts follow the newest; and that an instance
/// runs is said only of the order that it runs under.
///
/// An agent whose host runs the instance already answers a newer order with it, so what ran there when the order was
/// made counts too.
#[derive(Debug, Default)]
pub struct TokenOrder {
    committed: Committed,
    /// The newest decision of each host.
    fences: BTreeMap<HostId, Token>,
    /// The newest plan of each instance.
    plans: BTreeMap<InstanceId, Token>,
    /// The newest token that each instance was started under.
    starts: BTreeMap<InstanceId, Token>,
    /// Where each instance runs.
    runs: BTreeMap<InstanceId, BTreeSet<HostId>>,
    /// Where each instance has run since its newest plan was made.
    has_run: BTreeMap<InstanceId, BTreeSet<HostId>>,
    judged: u64,
}

impl Promise for TokenOrder {
    fn id(&self) -> &'static str {
        "S3"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        if let Some(entry) = self.committed.entry(observation) {
            return entry.events.iter().try_for_each(|event| self.event(&entry, event));
        }
        if let Seen::Started { instance, host, .. } = &observation.seen {
            self.runs.entry(*instance).or_default().insert(host.clone());
            self.has_run.entry(*instance).or_default().insert(host.clone());
        } else if let Seen::Ended { instance, host } = &observation.seen {
            self.runs.entry(*instance).or_default().remove(host);
        } else if let Seen::PowerOff { host, .. } = &observation.seen {
            self.runs.values_mut().for_each(|hosts| drop(hosts.take(host)));
        }
        let Seen::Started { instance, host, token: Some(token) } = &observation.seen else { return Ok(()) };
        self.judged += 1;
        match self.starts.get(instance) {
            Some(newest) if token < newest => {
                Err(format!("{instance} starts on {host} under token {token} after a start under {newest}"))
            }
            Some(_) | None => {
                self.starts.insert(*instance, *token);
                Ok(())
            }
        }
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl TokenOrder {
    fn event(&mut self, entry: &Entry<'_>, event: &Event) -> Result<(), String> {
        if let Event::FenceDecided { host, token } = event {
            let newest = self.fences.values().max().copied();
            self.fences.insert(host.clone(), *token);
            return self.decision(entry, *token, newest, &format!("the fence of {host}"));
        }
        if let Event::RecoveryPlanned { instance, token, .. } = event {
            let newest = self.plans.insert(*instance, *token);
            let running = self.runs.get(instance).cloned().unwrap_or_default();
            self.has_run.insert(*instance, running);
            return self.decision(entry, *token, newest, &format!("the recovery of {instance}"));
        }
        if let Event::InstanceStarted { instance, host, token } = event {
            self.judged += 1;
            let has_run = self.has_run.get(instance).is_some_and(|hosts| hosts.contains(host));
            if !has_run {
                return Err(format!(
                    "{} says that {instance} runs on {host} under token {token}, and it has not run there since that order",
                    entry.index
                ));
            }
        }
        if let Event::PermitGranted { host, token, .. } | Event::HostFenced { host, token, .. } = event {
            self.judged += 1;
            return match self.fences.get(host) {
                Some(newest) if newest != token => {
                    Err(format!("{} rests on token {token} of {host}, whose newest is {newest}: {event}", entry.index))
                }
                Some(_) | None => Ok(()),
            };
        }
        Ok(())
    }

    fn decision(&mut self, entry: &Entry<'_>, token: Token, newest: Option<Token>, what: &str) -> Result<(), String> {
        self.judged += 1;
        if token.0 != entry.index {
            return Err(format!("{what} has token {token} and is decided at {}", entry.index));
        }
        match newest {
            Some(newest) if token <= newest => Err(format!("{what} has token {token} after {newest}")),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::sample::{
        Story, acquits, convicts, decided, fenced, granted, off_proof, parked, planned, runs,
    };

    #[test]
    fn a_token_is_the_index_of_its_decision() {
        convicts::<TokenOrder>(&Story::new().entry(5, vec![decided("a", 4)]), "token #4 and is decided at #5");
        convicts::<TokenOrder>(&Story::new().entry(5, vec![planned(1, "a", "b", 6)]), "token #6 and is decided at #5");
        acquits::<TokenOrder>(&Story::new().entry(5, vec![decided("a", 5)]).entry(6, vec![decided("b", 6)]));
        acquits::<TokenOrder>(&Story::new().entry(5, vec![planned(1, "a", "b", 5), planned(2, "a", "b", 5)]));
    }

    #[test]
    fn a_token_used_twice_is_a_breach() {
        let fences = Story::new().entry(5, vec![decided("a", 5), decided("b", 5)]);
        convicts::<TokenOrder>(&fences, "b has token #5 after #5");
        let plans = Story::new().entry(5, vec![planned(1, "a", "b", 5), parked(1, "a", 5)]);
        convicts::<TokenOrder>(&plans, "has token #5 after #5");
    }

    #[test]
    fn permits_and_proofs_follow_the_newest_decision() {
        let story = Story::new().entry(5, vec![decided("a", 5)]);
        let twice = story.clone().entry(6, vec![decided("a", 6)]);
        convicts::<TokenOrder>(&twice.clone().entry(7, vec![granted("a", 5, 1)]), "whose newest is #6");
        convicts::<TokenOrder>(&twice.entry(7, vec![fenced("a", 5, off_proof())]), "whose newest is #6");
        acquits::<TokenOrder>(&story.entry(6, vec![granted("a", 5, 1)]).entry(7, vec![fenced("a", 5, off_proof())]));
    }

    #[test]
    fn a_start_under_an_older_token_is_a_breach() {
        let story = Story::new().started(1, "b", Some(9));
        convicts::<TokenOrder>(&story.clone().started(1, "c", Some(8)), "under token #8 after a start under #9");
        acquits::<TokenOrder>(&story.clone().started(1, "c", Some(10)));
        acquits::<TokenOrder>(&story.started(2, "c", Some(8)));
    }

    #[test]
    fn what_is_said_to_run_has_run_since_its_order() {
        let ordered = Story::new().entry(7, vec![planned(1, "a", "b", 7)]);
        let said = |story: Story, token| story.entry(token + 1, vec![runs(1, "b", token)]);
        let why = "runs on b under token #7, and it has not run there since that order";
        convicts::<TokenOrder>(&said(ordered.clone(), 7), why);
        convicts::<TokenOrder>(&said(ordered.clone().started(1, "c", Some(7)), 7), why);
        acquits::<TokenOrder>(&said(ordered.clone().started(1, "b", Some(7)).ended(1, "b"), 7));
        let again = |story: Story| said(story.entry(9, vec![planned(1, "a", "b", 9)]), 9);
        acquits::<TokenOrder>(&again(ordered.clone().started(1, "b", Some(7))));
        convicts::<TokenOrder>(
            &again(ordered.started(1, "b", Some(7)).ended(1, "b")),
            "under token #9, and it has not run",
        );
    }
}
