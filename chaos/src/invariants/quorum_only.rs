//! S4: no power action without a committed decision and a live permit.

use std::collections::BTreeMap;

use quorumfence_machine::{ControllerId, Event, HostId, Millis, Settings, Token};

use super::Promise;
use super::ballot::Ballot;
use super::committed::{Committed, Entry};
use super::hearing::Hearing;
use crate::observation::{Cause, Observation, Seen};

/// Judges S4 at each off order that is sent, at each that a BMC takes, at each power cut by a BMC, and at each loss, return and admission of a host:
/// these rest on the votes of a majority, and a decision that is committed is not undone. Votes themselves are compared
/// with what the world did: a host that was well and could be heard is not lost.
///
/// A permit's life is measured from the moment when the first controller applied its entry. Its executor counts from
/// before it asked, so a correct one stops earlier, by the time that the commit took. That is the room for the drift of
/// its clock; there is no other. An order that races with the proof of its fence is innocent while its permit lives.
///
/// The life is the one in force at the permit's own entry: nobody is granted a longer one.
#[derive(Debug, Default)]
pub struct QuorumOnly {
    committed: Committed,
    ballot: Ballot,
    hearing: Hearing,
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
        self.hearing.see(observation);
        if let Some(entry) = self.committed.entry(observation) {
            self.take(&entry)?;
        } else if let Seen::Opened { settings: Settings { permit_life, .. }, .. } = &observation.seen {
            self.permit_life = *permit_life;
        } else if let Seen::OffSent { controller, host } = &observation.seen {
            self.judged += 1;
            self.order(*controller, host, observation.at)
                .map_err(|why| format!("{controller} sends off to the BMC of {host}, {why}"))?;
        } else if let Seen::OffTaken { host } = &observation.seen {
            // Whoever sent it, and whether or not the BMC obeys.
            self.judged += 1;
            self.decision(host).map_err(|why| format!("the BMC of {host} takes an off order, {why}"))?;
        } else if let Seen::PowerOff { host, cause: Cause::Bmc } = &observation.seen {
            self.judged += 1;
            self.decision(host).map_err(|why| format!("the BMC of {host} cuts its power, {why}"))?;
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged + self.hearing.judged()
    }
}

impl QuorumOnly {
    /// Returns a judge that takes a busy machine into account: a host that is not heard may be slow there.
    pub fn on_a_real_machine() -> Self {
        Self { hearing: Hearing::on_a_real_machine(), ..Self::default() }
    }

    fn take(&mut self, entry: &Entry<'_>) -> Result<(), String> {
        for event in entry.events {
            self.judged += u64::from(matches!(
                event,
                Event::HostLost { .. } | Event::HostRegained { .. } | Event::HostAdmitted { .. }
            ));
            self.ballot.take(event).map_err(|why| format!("at {} {why}", entry.index))?;
            self.hearing.take(event, entry.at).map_err(|why| format!("at {} {event}, {why}", entry.index))?;
            if let Event::SettingsChanged { settings: Some(settings) } = event {
                self.permit_life = settings.permit_life;
            } else if let Event::FenceDecided { host, token } = event {
                self.hosts.insert(host.clone(), Leave { fence: Some(*token), ..Leave::default() });
            } else if let Event::PermitGranted { host, token, executor, .. } = event {
                if let Some(leave) = self.hosts.get_mut(host).filter(|leave| leave.fence == Some(*token)) {
                    leave.permits.insert(*executor, entry.at + self.permit_life);
                }
            } else if let Event::HostAdmitted { host, .. } = event {
                self.hosts.entry(host.clone()).or_default().admitted = true;
            }
        }
        Ok(())
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
    use quorumfence_machine::Verdict;

    use super::*;
    use crate::invariants::sample::{
        Story, acquits, admitted, boot, convicts, decided, fenced, granted, host, lost, new_boot, off_proof,
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
        let longer = Settings { permit_life: Millis(30_000), ..Settings::default() };
        let changed = |settings| Event::SettingsChanged { settings: Some(Box::new(settings)) };
        let story = permitted().entry(7, vec![changed(longer)]);
        convicts::<QuorumOnly>(&story.clone().at(21_001).sent(1, "a"), "0.001 s after its permit of token #5 ended");
        let again = story.at(5000).entry(8, vec![granted("a", 5, 1)]).entry(9, vec![changed(Settings::default())]);
        acquits::<QuorumOnly>(&again.clone().at(35_000).sent(1, "a"));
        convicts::<QuorumOnly>(&again.clone().at(35_001).sent(1, "a"), "0.001 s after its permit of token #5 ended");
        let short = again.entry(10, vec![granted("a", 5, 2)]).at(25_001);
        convicts::<QuorumOnly>(&short.sent(2, "a"), "0.001 s after its permit of token #5 ended");
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

    #[test]
    fn an_order_that_a_bmc_takes_needs_a_decision_whoever_sent_it() {
        let taken = |story: Story| story.seen(Seen::OffTaken { host: host("a") });
        let undecided = Story::new().entry(4, vec![admitted("a", 1)]);
        convicts::<QuorumOnly>(&taken(undecided), "the BMC of a takes an off order, and no fence of that host");
        let late = permitted().entry(7, vec![fenced("a", 5, off_proof())]).entry(8, vec![admitted("a", 2)]);
        convicts::<QuorumOnly>(&taken(late), "takes an off order, which was admitted again after its fence");
        acquits::<QuorumOnly>(&taken(permitted()));
    }

    fn vote(by: u64, verdict: Verdict) -> Event {
        Event::VoteCast { controller: ControllerId(by), host: host("a"), verdict }
    }

    fn alive(number: u8) -> Verdict {
        Verdict::Alive { boot: boot(number) }
    }

    fn regained() -> Event {
        Event::HostRegained { host: host("a") }
    }

    /// Three voters, two of which hear host a in its boot 1, in which it is admitted; the third saw it dead before.
    fn three_voters() -> Story {
        let voters = vec![ControllerId(1), ControllerId(2), ControllerId(3)];
        let votes =
            vec![Event::VotersChanged { voters }, vote(3, Verdict::Unreachable), vote(1, alive(1)), vote(2, alive(1))];
        Story::new().entry(3, votes).entry(4, vec![admitted("a", 1)])
    }

    #[test]
    fn a_host_is_lost_to_a_majority_that_saw_its_admitted_boot() {
        let one = three_voters().entry(5, vec![vote(1, Verdict::Unreachable)]);
        let two = one.clone().entry(6, vec![vote(2, Verdict::PoweredOff)]);
        convicts::<QuorumOnly>(
            &one.entry(7, vec![lost("a")]),
            "at #7 a is lost, and 1 of 3 voters say so, of which it takes 2",
        );
        acquits::<QuorumOnly>(&two.entry(7, vec![lost("a")]));
        let reboot = three_voters().entry(5, vec![vote(1, alive(2)), vote(2, alive(2)), lost("a")]);
        acquits::<QuorumOnly>(&reboot);
        let left = three_voters().entry(5, vec![vote(1, Verdict::Unreachable), vote(3, Verdict::Unreachable)]);
        let left = left.entry(6, vec![Event::VotersChanged { voters: vec![ControllerId(1), ControllerId(2)] }]);
        convicts::<QuorumOnly>(&left.entry(7, vec![lost("a")]), "1 of 2 voters say so");
    }

    #[test]
    fn a_host_is_admitted_in_the_boot_that_a_majority_hears() {
        let one = three_voters().entry(5, vec![vote(1, alive(2))]);
        convicts::<QuorumOnly>(&one.clone().entry(6, vec![admitted("a", 2)]), "and 1 of 3 voters say so");
        acquits::<QuorumOnly>(&one.entry(6, vec![vote(3, alive(2)), admitted("a", 2)]));
    }

    #[test]
    fn a_decision_is_not_undone_and_one_voice_brings_nobody_back() {
        let dead =
            three_voters().entry(5, vec![vote(1, Verdict::Unreachable), vote(2, Verdict::Unreachable), lost("a")]);
        convicts::<QuorumOnly>(&dead.clone().entry(6, vec![vote(1, alive(1)), regained()]), "and 1 of 3 voters say so");
        let back = vec![vote(1, alive(1)), vote(2, alive(1)), regained()];
        acquits::<QuorumOnly>(&dead.clone().entry(6, back.clone()));
        let late = dead.entry(6, vec![decided("a", 6)]).entry(7, back);
        convicts::<QuorumOnly>(&late, "counts as alive again, although its fence is decided and not proven");
    }
}
