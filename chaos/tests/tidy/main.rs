//! The walls and the manners of this repository, checked.
//!
//! Each rule is a function from a text to its findings, tried on a guilty and an innocent text beside it. The tests
//! here run the rules over every file, and print all findings at once.

mod edges;
mod length;
mod names;
mod source;
mod words;

use source::{Finding, repository};

fn report(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn no_package_reaches_over_a_wall() {
    report(&edges::check(&repository()));
}

#[test]
fn files_and_functions_stay_short() {
    report(&repository().iter().flat_map(length::check).collect::<Vec<_>>());
}

#[test]
fn words_are_plain() {
    report(&repository().iter().flat_map(words::check).collect::<Vec<_>>());
}

#[test]
fn names_say_what_a_thing_is() {
    report(&repository().iter().flat_map(names::check).collect::<Vec<_>>());
}
