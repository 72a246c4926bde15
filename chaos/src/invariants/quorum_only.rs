//! S4: no power action without a committed decision and a live permit.

use std::collections::BTreeMap;

use quorumfence_machine::{ControllerId, Event, HostId, Millis, Settings, Token};

use super::Promise;
use super::committed::{Committed, Entry};
use crate::observation::{Cause, Observation, Seen};

/// Judges S4 at each off order that is sent and at each power cut by a BMC.
///
/// A permit's life is measured from the moment when the first controller applied its entry. Its executor counts from
/// before it asked, so a correct one stops earlier, by the time that the commit took. That is the room for the drift of
/// its clock; there is no other. An order that races with the proof of its fence is innocent while its permit lives.
///
/// The life is that of the settings which the run began with: the log's events do not say what settings changed to.
#[derive(Debug, Default)]
pub struct QuorumOnly {
    committed: Committed,
    permit_life: Millis,
    hosts: BTreeMap<HostId, Leave>,
    judged: u64,
}

/// What may be done to a host.
#[derive(Debug, Default)]
struct Leave {
    /// Its newest decision.
    fence: Option<Token>,
    /// Whether it was admitted after that.
    admitted: bool,
    /// Until when each executor may act on that decision.
    permits: BTreeMap<ControllerId, Millis>,
}

impl Promise for QuorumOnly {
    fn id(&self) -> &'static str {
        "S4"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        if let Some(entry) = self.committed.entry(observation) {
            self.take(&entry);
        } else if let Seen::Opened { settings: Settings { permit_life, .. }, .. } = &observation.seen {
            self.permit_life = *permit_life;
        } else if let Seen::OffSent { controller, host } = &observation.seen {
            self.judged += 1;
            self.order(*controller, host, observation.at)
                .map_err(|why| format!("{controller} sends off to the BMC of {host}, {why}"))?;
        } else if let Seen::PowerOff { host, cause: Cause::Bmc } = &observation.seen {
            self.judged += 1;
            self.decision(host).map_err(|why| format!("the BMC of {host} cuts its power, {why}"))?;
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl QuorumOnly {
    fn take(&mut self, entry: &Entry<'_>) {
        for event in entry.events {
            if let Event::FenceDecided { host, token } = event {
                self.hosts.insert(host.clone(), Leave { fence: Some(*token), ..Leave::default() });
            } else if let Event::PermitGranted { host, token, executor, .. } = event {
                if let Some(leave) = self.hosts.get_mut(host).filter(|leave| leave.fence == Some(*token)) {
                    leave.permits.insert(*executor, entry.at + self.permit_life);
                }
            } else if let Event::HostAdmitted { host, .. } = event {
                self.hosts.entry(host.clone()).or_default().admitted = true;
            }
        }
    }

    fn order(&self, controller: ControllerId, host: &HostId, at: Millis) -> Result<(), String> {
        let (token, leave) = self.decision(host)?;
        match leave.permits.get(&controller) {
            None => Err(format!("holding no permit of token {token}")),
            Some(ends) if *ends < at => Err(format!("{} after its permit of token {token} ended", at - *ends)),
            Some(_) => Ok(()),
        }
    }

    fn decision(&self, host: &HostId) -> Result<(Token, &Leave), String> {
        let decided = self.hosts.get(host).and_then(|leave| Some((leave.fence?, leave)));
        let (token, leave) = decided.ok_or("and no fence of that host was ever decided")?;
        if leave.admitted {
            return Err(format!("which was admitted again after its fence, token {token}"));
        }
        Ok((token, leave))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::sample::{
        Story, acquits, admitted, convicts, decided, fenced, granted, new_boot, off_proof,
    };

    /// Host a is fenced under token 5, and controller 1 got its permit at 1.000 s.
    fn permitted() -> Story {
        Story::new()
            .entry(4, vec![admitted("a", 1)])
            .entry(5, vec![decided("a", 5)])
            .at(1000)
            .entry(6, vec![granted("a", 5, 1)])
    }

    #[test]
    fn an_order_without_a_decision_or_a_permit_is_a_breach() {
        convicts::<QuorumOnly>(&Story::new().sent(1, "a"), "no fence of that host was ever decided");
        convicts::<QuorumOnly>(&permitted().sent(1, "b"), "no fence of that host was ever decided");
        convicts::<QuorumOnly>(&permitted().sent(2, "a"), "holding no permit of token #5");
        let elsewhere = Story::new().entry(5, vec![decided("a", 5)]).entry(6, vec![granted("a", 4, 1)]);
        convicts::<QuorumOnly>(&elsewhere.sent(1, "a"), "holding no permit of token #5");
        acquits::<QuorumOnly>(&permitted().sent(1, "a"));
    }

    #[test]
    fn an_order_after_the_permit_ended_is_a_breach() {
        convicts::<QuorumOnly>(&permitted().at(21_001).sent(1, "a"), "0.001 s after its permit of token #5 ended");
        acquits::<QuorumOnly>(&permitted().at(21_000).sent(1, "a"));
        let renewed = permitted().at(20_000).entry(7, vec![granted("a", 5, 1)]);
        acquits::<QuorumOnly>(&renewed.at(39_000).sent(1, "a"));
    }

    #[test]
    fn an_order_may_race_with_the_proof_but_not_outlive_the_fence() {
        let proven = permitted().entry(7, vec![fenced("a", 5, new_boot(2))]);
        acquits::<QuorumOnly>(&proven.clone().at(2000).sent(1, "a"));
        let admitted_again = proven.entry(8, vec![admitted("a", 2)]).at(2000);
        convicts::<QuorumOnly>(&admitted_again.clone().sent(1, "a"), "admitted again after its fence, token #5");
        let next = admitted_again.entry(9, vec![decided("a", 9)]);
        convicts::<QuorumOnly>(&next.sent(1, "a"), "holding no permit of token #9");
    }

    #[test]
    fn a_power_cut_without_a_decision_or_after_admission_is_a_breach() {
        let undecided = Story::new().entry(4, vec![admitted("a", 1)]).power_off("a", Cause::Bmc);
        convicts::<QuorumOnly>(&undecided, "the BMC of a cuts its power, and no fence");
        let late = permitted().entry(7, vec![fenced("a", 5, off_proof())]).entry(8, vec![admitted("a", 2)]);
        convicts::<QuorumOnly>(&late.clone().power_off("a", Cause::Bmc), "cuts its power, which was admitted again");
        acquits::<QuorumOnly>(&permitted().power_off("a", Cause::Bmc).power_off("b", Cause::Outside));
        acquits::<QuorumOnly>(&permitted().at(50_000).power_off("a", Cause::Bmc).power_off("a", Cause::Outside));
    }
}
