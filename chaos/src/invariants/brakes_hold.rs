//! S5: disarmed, maintenance, storm limits and minimum-healthy are never crossed, also across leader changes.

#[cfg(test)]
mod tests;

use quorumfence_machine::Event;

use super::Promise;
use super::committed::Committed;
use super::fleet::Fleet;
use crate::observation::Observation;

/// Judges S5 at each decision to fence that no person made.
///
/// A decision that a person makes and proves in one entry (`host confirm-dead`) passes every brake, by design.
#[derive(Debug, Default)]
pub struct BrakesHold {
    committed: Committed,
    fleet: Fleet,
    judged: u64,
}

impl Promise for BrakesHold {
    fn id(&self) -> &'static str {
        "S5"
    }

    fn see(&mut self, observation: &Observation) -> Result<(), String> {
        self.fleet.open(observation);
        let Some(entry) = self.committed.entry(observation) else { return Ok(()) };
        for event in entry.events {
            if let Event::FenceDecided { host, token } = event
                && !entry.is_vouched(*token)
            {
                self.judged += 1;
                if let Some(brake) = self.fleet.brake(host, entry.at) {
                    return Err(format!("the fence of {host}, token {token}, is decided although {brake}"));
                }
            }
            self.fleet.take(&entry, event);
        }
        Ok(())
    }

    fn judged(&self) -> u64 {
        self.judged
    }
}
