//! S9: at most one evacuation of an instance per token is ever in flight.

use std::collections::BTreeMap;

use quorumfence_machine::{Destination, Event, HostId, InstanceId, Token};

use super::Promise;
use super::committed::Committed;
use crate::observation::{Observation, Seen};

/// Judges S9 at each start under a token.
///
/// The same order may start an instance again only where it ended by itself before the log heard that it ran, in the
/// same boot of the same host: the leader does not know, asks again, and it is still one evacuation. It may have asked again
/// just before it heard.
#[derive(Debug, Default)]
pub struct Once {
    committed: Committed,
    starts: BTreeMap<(InstanceId, Token), Start>,
    /// The start orders whose end the log does not know.
    open: BTreeMap<InstanceId, Token>,
    judged: u64,
}

#[derive(Debug)]
struct Start {
    host: HostId,
    ended: bool,
    /// Whether it ended before the log heard that it ran.
    ended_unheard: bool,
    /// Whether the host lost its power since: the order is over with the boot that it was for.
    cut: bool,
}

impl Promise for Once {
    fn id(&self) -> &'static str {
        "S9"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        if let Some(entry) = self.committed.entry(observation) {
            entry.events.iter().for_each(|event| self.take(event));
        } else if let Seen::Started { instance, host, token: Some(token) } = &observation.seen {
            self.judged += 1;
            self.start(*instance, host, *token)?;
        } else if let Seen::Ended { instance, host } = &observation.seen {
            let starts = self.starts.iter_mut().filter(|((of, _), start)| of == instance && start.host == *host);
            for ((_, token), start) in starts {
                start.ended = true;
                start.ended_unheard |= self.open.get(instance) == Some(token);
            }
        } else if let Seen::PowerOff { host, .. } = &observation.seen {
            self.starts.values_mut().filter(|start| start.host == *host).for_each(|start| start.cut = true);
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}

impl Once {
    fn take(&mut self, event: &Event) {
        if let Event::RecoveryPlanned { instance, to, token, .. } = event {
            match to {
                Destination::Host { .. } => self.open.insert(*instance, *token),
                Destination::Parked(_) => self.open.remove(instance),
            };
        }
        if let Event::InstanceStarted { instance, token, .. } | Event::StartRefused { instance, token, .. } = event
            && self.open.get(instance) == Some(token)
        {
            self.open.remove(instance);
        }
    }

    fn start(&mut self, instance: InstanceId, host: &HostId, token: Token) -> Result<(), String> {
        let open = self.open.get(&instance).copied();
        if let Some(open) = open.filter(|open| token < *open) {
            return Err(format!("{instance} starts on {host} under token {token} while its order {open} is open"));
        }
        if let Some(before) = self.starts.get(&(instance, token)) {
            let was_unheard = open == Some(token) || before.ended_unheard;
            let asked_again = before.ended && !before.cut && before.host == *host && was_unheard;
            if !asked_again {
                let first = &before.host;
                return Err(format!("{instance} starts on {host} under token {token}, which started it on {first}"));
            }
        }
        self.starts
            .insert((instance, token), Start { host: host.clone(), ended: false, ended_unheard: false, cut: false });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::sample::{Story, acquits, convicts, parked, planned, refused, runs};
    use crate::observation::Cause;

    /// Instance 1 of host a runs on b under token 7, and the log does not know it.
    fn started() -> Story {
        Story::new().entry(7, vec![planned(1, "a", "b", 7)]).started(1, "b", Some(7))
    }

    #[test]
    fn a_second_start_under_one_token_is_a_breach() {
        let why = "under token #7, which started it on b";
        convicts::<Once>(&started().started(1, "b", Some(7)), why);
        convicts::<Once>(&started().ended(1, "b").started(1, "c", Some(7)), why);
        convicts::<Once>(&started().entry(8, vec![runs(1, "b", 7)]).ended(1, "b").started(1, "b", Some(7)), why);
        let cut = started().ended(1, "b").power_off("b", Cause::Outside);
        convicts::<Once>(&cut.started(1, "b", Some(7)), why);
        acquits::<Once>(&started().started(2, "b", Some(7)));
        acquits::<Once>(&started().started(1, "b", None));
    }

    #[test]
    fn an_open_order_may_start_again_what_ended_by_itself() {
        let again = started().ended(1, "b").started(1, "b", Some(7));
        acquits::<Once>(&again);
        let heard_late = started().ended(1, "b").entry(8, vec![runs(1, "b", 7)]);
        acquits::<Once>(&heard_late.clone().started(1, "b", Some(7)));
        let twice = heard_late.started(1, "b", Some(7)).ended(1, "b").started(1, "b", Some(7));
        convicts::<Once>(&twice, "under token #7, which started it on b");
        convicts::<Once>(&again.started(1, "b", Some(7)), "under token #7, which started it on b");
    }

    #[test]
    fn an_older_order_does_not_start_anything_while_a_newer_is_open() {
        let newer = Story::new().entry(7, vec![planned(1, "a", "b", 7)]).entry(9, vec![planned(1, "a", "c", 9)]);
        convicts::<Once>(&newer.clone().started(1, "b", Some(7)), "under token #7 while its order #9 is open");
        acquits::<Once>(&newer.clone().started(1, "c", Some(9)));
        acquits::<Once>(&newer.clone().entry(10, vec![refused(1, "c", 9)]).started(1, "b", Some(7)));
        acquits::<Once>(&newer.entry(10, vec![parked(1, "a", 10)]).started(1, "b", Some(7)));
    }
}
