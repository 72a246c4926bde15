//! Exactly once: a request keeps its first answer wherever it is sent again, and the log tells of its effect once.

use std::collections::BTreeMap;

use super::history::{Answer, History, Operation, Step};

/// Returns what is broken, in plain words.
pub fn judge(history: &History) -> Vec<String> {
    let mut broken = replies(history);
    broken.extend(effects(history));
    broken
}

/// How replies begin that name something which is given to one request only.
pub const GIFT: &str = "gave ";

fn replies(history: &History) -> Vec<String> {
    let mut broken = Vec::new();
    let mut first: BTreeMap<u64, (&String, u64)> = BTreeMap::new();
    let mut owners: BTreeMap<&String, u64> = BTreeMap::new();
    for record in &history.records {
        match &record.step {
            Step::Attempt { call, controller, reply: Some(reply), .. } => {
                let (known, at) = *first.entry(*call).or_insert((reply, *controller));
                if known != reply {
                    broken.push(format!(
                        "call {call}: one request got two answers: {known:?} at controller-{at}, then {reply:?} at \
                         controller-{controller}"
                    ));
                }
                let owner = *owners.entry(reply).or_insert(*call);
                if owner != *call && reply.starts_with(GIFT) {
                    broken.push(format!("one answer for two: calls {owner} and {call} were both told {reply:?}"));
                }
            }
            Step::Invoke { .. }
            | Step::Attempt { reply: None, .. }
            | Step::Opens { .. }
            | Step::Return { .. }
            | Step::Log { .. } => {}
        }
    }
    broken
}

/// How often the log may tell of an effect.
#[derive(Default)]
struct Bounds {
    least: u64,
    most: u64,
}

fn effects(history: &History) -> Vec<String> {
    let mut bounds: BTreeMap<&String, Bounds> = BTreeMap::new();
    let mut asked: BTreeMap<u64, (&String, &Operation)> = BTreeMap::new();
    let mut broken = Vec::new();
    for record in &history.records {
        match &record.step {
            Step::Invoke { call, operation, effect: Some(effect), .. } => {
                asked.insert(*call, (effect, operation));
                // Until it returns, nobody knows.
                bounds.entry(effect).or_default().most += 1;
            }
            Step::Return { call, answer, .. } => {
                let Some((effect, operation)) = asked.get(call) else { continue };
                let bounds = bounds.entry(*effect).or_default();
                match answer {
                    // A latch that is taken already answers like one that was free.
                    Answer::Done => {
                        bounds.least += u64::from(!matches!(operation, Operation::Take(_) | Operation::Free))
                    }
                    Answer::Refused | Answer::Nothing => bounds.most -= 1,
                    Answer::Value(_) | Answer::Unknown => {}
                }
            }
            Step::Log { complete, effects } => {
                for (text, Bounds { least, most }) in &bounds {
                    let found = effects.iter().filter(|effect| effect == text).count() as u64;
                    if found > *most {
                        broken.push(format!(
                            "the log tells {found} times of {text:?}, which was asked for {most} times at most"
                        ));
                    }
                    if found < *least && *complete {
                        broken.push(format!(
                            "the log tells {found} times of {text:?}, which was acknowledged {least} times"
                        ));
                    }
                }
            }
            Step::Invoke { effect: None, .. } | Step::Opens { .. } | Step::Attempt { .. } => {}
        }
    }
    broken
}
