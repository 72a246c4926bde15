//! Who votes what about each host, rebuilt from the committed events alone.

use std::collections::{BTreeMap, BTreeSet};

use quorumfence_machine::{BootId, ControllerId, Event, HostId, Verdict};

/// The votes that count, and what may rest on them.
///
/// Events tell each change of a verdict, so an unchanged one is the last that was told. Voters are known once an event
/// named them; before that nothing is judged.
#[derive(Debug, Default)]
pub(crate) struct Ballot {
    voters: BTreeSet<ControllerId>,
    hosts: BTreeMap<HostId, Votes>,
}

#[derive(Debug, Default)]
struct Votes {
    cast: BTreeMap<ControllerId, Verdict>,
    admitted: Option<BootId>,
    /// Whether its fence is decided and not proven.
    is_decided: bool,
}

impl Ballot {
    /// Takes in one event of a committed entry, and returns whether it rested on a majority.
    ///
    /// # Errors
    /// Says which majority is missing, or which decision was undone.
    pub(crate) fn take(&mut self, event: &Event) -> Result<(), String> {
        if let Event::VotersChanged { voters } = event {
            self.voters = voters.iter().copied().collect();
            self.hosts.values_mut().for_each(|votes| votes.cast.retain(|voter, _| voters.contains(voter)));
        } else if let Event::VoteCast { controller, host, verdict } = event {
            self.hosts.entry(host.clone()).or_default().cast.insert(*controller, *verdict);
        } else if let Event::HostLost { host, .. } = event {
            let admitted = self.hosts.get(host).and_then(|votes| votes.admitted);
            self.majority(host, |verdict| condemns(verdict, admitted))
                .map_err(|why| format!("{host} is lost, {why}"))?;
        } else if let Event::HostRegained { host } = event {
            self.regained(host).map_err(|why| format!("{host} counts as alive again, {why}"))?;
        } else if let Event::HostAdmitted { host, boot } = event {
            self.admitted(host, *boot).map_err(|why| format!("{host} is admitted in boot {boot}, {why}"))?;
        } else if let Event::FenceDecided { host, .. } = event {
            self.hosts.entry(host.clone()).or_default().is_decided = true;
        } else if let Event::HostFenced { host, .. } = event {
            self.hosts.entry(host.clone()).or_default().is_decided = false;
        }
        Ok(())
    }

    fn regained(&self, host: &HostId) -> Result<(), String> {
        let votes = self.hosts.get(host);
        if votes.is_some_and(|votes| votes.is_decided) {
            return Err("although its fence is decided and not proven".into());
        }
        let Some(boot) = votes.and_then(|votes| votes.admitted) else { return Ok(()) };
        self.majority(host, |verdict| verdict == Verdict::Alive { boot })
    }

    /// What was said about an earlier boot says nothing about the admitted one.
    fn admitted(&mut self, host: &HostId, boot: BootId) -> Result<(), String> {
        let heard = self.majority(host, |verdict| verdict == Verdict::Alive { boot });
        let votes = self.hosts.entry(host.clone()).or_default();
        votes.cast.retain(|_, verdict| *verdict == Verdict::Alive { boot });
        votes.admitted = Some(boot);
        heard
    }

    fn majority(&self, host: &HostId, says_so: impl Fn(Verdict) -> bool) -> Result<(), String> {
        let cast = self.hosts.get(host).map(|votes| &votes.cast);
        let count = cast.into_iter().flatten().filter(|(_, verdict)| says_so(**verdict)).count();
        let (voters, needed) = (self.voters.len(), self.voters.len() / 2 + 1);
        if voters > 0 && count < needed {
            return Err(format!("and {count} of {voters} voters say so, of which it takes {needed}"));
        }
        Ok(())
    }
}

/// Whoever hears another boot than the admitted one condemns what ran in that.
fn condemns(verdict: Verdict, admitted: Option<BootId>) -> bool {
    match verdict {
        Verdict::Unreachable | Verdict::PoweredOff => true,
        Verdict::Alive { boot } => admitted != Some(boot),
        Verdict::CannotTell(_) => false,
    }
}
