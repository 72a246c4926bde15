//! Crowds of clients, told by a generator and judged against every order.

use std::time::Duration;

use super::super::brute;
use super::super::generator::{KINDS, Kind, Shape, corrupt, history};
use super::super::history::{Answer, Step};
use super::super::judge;
use crate::chance::Chance;

const BUDGET: u64 = 3_000_000;

/// Histories of each kind of object.
const HISTORIES: u64 = 400;

#[test]
fn what_a_real_object_answers_is_never_convicted() {
    for kind in KINDS {
        for seed in 0..HISTORIES {
            let shape = Shape { kind, clients: 1 + seed % 10, calls: 60, unknown_percent: seed % 30 };
            let report = judge(&history(shape, &mut Chance::new(seed, "real")), BUDGET);
            assert!(report.holds(), "{kind:?} seed {seed}: {report}");
        }
    }
}

#[test]
fn the_search_and_trying_every_order_agree() {
    for kind in KINDS {
        let (mut convicted, mut acquitted) = (0, 0);
        for seed in 0..HISTORIES {
            let shape = Shape { kind, clients: 2 + seed % 3, calls: 8, unknown_percent: 25 };
            let mut chance = Chance::new(seed, "small");
            let mut history = history(shape, &mut chance);
            assert!(brute::explains(&history), "{kind:?} seed {seed} is real");
            if !corrupt(&mut history, &mut chance) {
                continue;
            }
            let (explained, report) = (brute::explains(&history), judge(&history, BUDGET));
            assert_eq!(report.undecided, Vec::<String>::new());
            let told: String = history.records.iter().map(|record| format!("{record}\n")).collect();
            assert_eq!(report.holds(), explained, "{kind:?} seed {seed}: {report}\n{told}");
            if explained { acquitted += 1 } else { convicted += 1 }
        }
        assert!(convicted > 100 && acquitted > 5, "{kind:?}: {convicted} convicted, {acquitted} acquitted");
    }
}

#[test]
fn a_stale_read_in_a_large_crowd_is_convicted() {
    for kind in [Kind::Register, Kind::Latch] {
        let shape = Shape { kind, clients: 10, calls: 2000, unknown_percent: 10 };
        let mut history = history(shape, &mut Chance::new(1, "stale"));
        let mut answers: Vec<&mut Answer> = Vec::new();
        for record in &mut history.records {
            if let Step::Return { answer: answer @ Answer::Value(Some(_)), .. } = &mut record.step {
                answers.push(answer);
            }
        }
        *answers.pop().unwrap() = answers[0].clone();
        let report = judge(&history, BUDGET);
        assert_eq!((report.broken.len(), report.undecided.len()), (1, 0), "{report}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long the judge takes is a matter of the machine")]
fn ten_thousand_calls_of_ten_clients_are_decided_in_a_second() {
    for kind in [Kind::Register, Kind::Latch] {
        let shape = Shape { kind, clients: 10, calls: 10_000, unknown_percent: 5 };
        let history = history(shape, &mut Chance::new(2, "many"));
        let began = std::time::Instant::now();
        let report = judge(&history, BUDGET);
        let took = began.elapsed();
        assert!(report.holds(), "{report}");
        eprintln!("{kind:?}: {report} in {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}, which leaves room for a machine with much else to do");
    }
}
