use super::*;

const GUEST: &str = "11111111-1111-4111-8111-111111111111";

fn guest() -> InstanceId {
    GUEST.parse().unwrap()
}

/// Builds the image of a log from words such as `A0`; `-` is an empty place, anything else is written as it is.
fn image(words: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words.split_whitespace() {
        let sector = match word.split_at(1) {
            ("-", "") => String::new(),
            (run, number) if number.parse::<u64>().is_ok() => {
                format!("{:<511}\n", format!("quorumfence-log {GUEST} {run} {number}"))
            }
            _ => word.to_string(),
        };
        bytes.extend(sector.bytes().chain(std::iter::repeat(0)).take(RECORD));
    }
    bytes
}

fn judged(words: &str) -> Option<String> {
    let records = read(&image(&format!("{words} - -")), guest()).unwrap();
    two_writers(&records).map(|breach| format!("{} {} {}", breach.one, breach.place, breach.number))
}

#[test]
fn one_run_after_the_other_is_innocent() {
    for words in ["", "A0", "A0 A1 A2 A3", "A0 A1 A2 B0 B1 B2", "A0 B0 C0 C1", "A0 A1 B0 C0 C1 D0"] {
        assert_eq!(judged(words), None, "{words}");
    }
}

#[test]
fn a_record_that_was_written_twice_because_its_answer_was_lost_is_innocent() {
    assert_eq!(judged("A0 A1 A1 A2 B0 B0 B1"), None);
}

#[test]
fn a_run_that_writes_behind_another_is_convicted() {
    assert_eq!(judged("A0 A1 B0 A2"), Some("A 3 2".into()));
    assert_eq!(judged("A0 A1 B0 A2 B1 A3"), Some("A 3 2".into()));
    assert_eq!(judged("A0 B0 C0 B1"), Some("B 3 1".into()));
    assert_eq!(judged("A0 A1 A2 B0 B1 B2 B3 B4 A3"), Some("A 8 3".into()));
}

#[test]
fn a_run_whose_record_somebody_wrote_over_is_convicted() {
    // B took the place of A2 and died.
    assert_eq!(judged("A0 A1 B0 A3"), Some("A 3 2".into()));
    // A took the place of all that B wrote but its second record.
    assert_eq!(judged("A0 A1 A2 B1"), Some("B 3 0".into()));
    // Nothing is left of the other but the hole that it made.
    assert_eq!(judged("A0 A1 A3"), Some("A 2 2".into()));
    assert_eq!(judged("B1 B2"), Some("B 0 0".into()));
}

#[test]
fn a_log_that_is_no_log_proves_nothing() {
    let check = |words: &str, damage: Damage| assert_eq!(read(&image(words), guest()), Err(damage), "{words}");
    check("A0 A1", Damage::Full { places: 2 });
    check("A0 - A1 -", Damage::Gap { place: 1 });
    check("A0 half -", Damage::Garbage { place: 1 });
    let other = "22222222-2222-4222-8222-222222222222".parse().unwrap();
    assert_eq!(read(&image("A0 A1 -"), other), Err(Damage::Foreign { place: 0, instance: guest() }));
}

#[test]
fn a_conviction_names_both_runs_and_the_place() {
    let breach = |words: &str| two_writers(&read(&image(&format!("{words} -")), guest()).unwrap()).unwrap().to_string();
    assert_eq!(breach("A0 B0 A1"), "run A writes at place 2, behind run B, its record 1 or later");
    assert_eq!(breach("A0 A2"), "record 1 of run A is gone before place 1: somebody wrote over it");
}

#[test]
fn runs_are_counted_in_their_order() {
    let records = read(&image("A0 A1 B0 C0 C1 C2 -"), guest()).unwrap();
    assert_eq!(runs(&records), [("A".to_string(), 2), ("B".to_string(), 1), ("C".to_string(), 3)]);
}
