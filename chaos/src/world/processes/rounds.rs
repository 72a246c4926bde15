//! Where the faults of a run come from: a script, or a nemesis whose plan changes from round to round.
//!
//! A nemesis has one mix of faults, one storm and one ambush. A run of ten minutes is several rounds, each with a mix of
//! its own; between two of them everything is healed, and the controllers are restarted one after the other, as for an
//! upgrade.

use quorumfence_machine::{ControllerId, Millis};

use crate::fault::{Blow, Fault, Which};
use crate::nemesis::{Nemesis, Sight};
use crate::script::Action;
use crate::swarm::{Kind, Plan};
use crate::world::sim::{Run, due};

/// A round takes about this long.
const ROUND: Millis = Millis(100_000);

/// Kinds of faults that each round has whatever its mix is: after five rounds all had their turn.
const TURNS: usize = 3;

/// A restarted controller has this long to come back before the next one is told to stop.
const NEXT_RESTART: Millis = Millis(8000);

/// Storms and ambushes plan for at least so long.
const CHAOS_MIN: Millis = Millis(40_000);

/// Where faults come from.
#[derive(Debug)]
pub(super) enum Source {
    Rounds(Box<Rounds>),
    Script(std::vec::IntoIter<Action>, Option<Action>),
}

/// Rounds of a nemesis.
#[derive(Debug)]
pub(super) struct Rounds {
    seed: u64,
    plan: Plan,
    /// How many there are, and which this is.
    rounds: u64,
    round: u64,
    nemesis: Nemesis,
    /// Restarts that are still to come, and when.
    restarts: Vec<(Millis, ControllerId)>,
}

impl Source {
    pub(super) fn of(run: &Run, plan: Plan) -> Self {
        match &run.script {
            Some(script) => Self::Script(script.actions.clone().into_iter(), None),
            None => Self::Rounds(Box::new(Rounds::new(run.seed, plan))),
        }
    }

    /// Returns what goes wrong, or is put right, by `now`, which counts from the start of the chaos.
    pub(super) fn due(&mut self, now: Millis, sight: &Sight) -> Vec<Fault> {
        match self {
            Self::Script(actions, next) => due(actions, next, now),
            Self::Rounds(rounds) => rounds.due(now, sight),
        }
    }
}

impl Rounds {
    fn new(seed: u64, plan: Plan) -> Self {
        let rounds = (plan.chaos.0 / ROUND.0).max(1);
        let nemesis = Nemesis::new(seed, mix(&plan, seed, 0, rounds));
        Self { seed, plan, rounds, round: 0, nemesis, restarts: Vec::new() }
    }

    fn due(&mut self, now: Millis, sight: &Sight) -> Vec<Fault> {
        let length = Millis(self.plan.chaos.0 / self.rounds);
        let round = (now.0 / length.0.max(1)).min(self.rounds - 1);
        if round > self.round {
            self.round = round;
            let seed = self.seed.wrapping_add(round << 32);
            self.nemesis = Nemesis::new(seed, mix(&self.plan, seed, round, self.rounds));
            let each = sight.controllers.iter().zip(1..);
            self.restarts = each.map(|(id, nth)| (now + Millis(NEXT_RESTART.0 * nth), *id)).collect();
            return vec![Fault::Heal];
        }
        let began = Millis(length.0 * self.round);
        let mut due = self.nemesis.due(now - began, sight);
        let restarts = self.restarts.extract_if(.., |(at, _)| *at <= now);
        due.extend(restarts.map(|(_, id)| Fault::Controller(Which::One(id), Blow::HandOver)));
        due
    }
}

/// Returns the plan of one round. A run of one round has the mix of its seed.
fn mix(plan: &Plan, seed: u64, round: u64, rounds: u64) -> Plan {
    let mut kinds = if round == 0 { plan.kinds.clone() } else { Plan::of(seed).kinds };
    if rounds > 1 {
        let first = usize::try_from(round).unwrap_or(0) * TURNS;
        kinds.extend((first..first + TURNS).map(|nth| Kind::ALL[nth % Kind::ALL.len()]));
        kinds.sort();
        kinds.dedup();
    }
    let chaos = Millis(plan.chaos.0 / rounds).max(CHAOS_MIN);
    Plan { kinds, chaos, ..plan.clone() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ten_minutes_hold_every_kind_and_a_restart_of_everybody_after_each_round() {
        let plan = Plan { chaos: Millis(600_000), ..Plan::of(3) };
        let kinds: BTreeSet<Kind> = (0..6).flat_map(|round| mix(&plan, 3, round, 6).kinds).collect();
        assert_eq!(kinds, Kind::ALL.into());
        let controllers: Vec<ControllerId> = (1..=3).map(ControllerId).collect();
        let sight = Sight { controllers: controllers.clone(), running: controllers, ..Sight::default() };
        let mut rounds = Rounds::new(3, plan);
        let (mut heals, mut restarts) = (0, 0);
        for now in (0..600_000).step_by(100) {
            for fault in rounds.due(Millis(now), &sight) {
                heals += u64::from(fault == Fault::Heal);
                restarts += u64::from(matches!(fault, Fault::Controller(Which::One(_), Blow::HandOver)));
            }
        }
        assert_eq!((heals, restarts), (5, 15));
    }
}
