//! Whether a log tells what another one tells, in the same order: for worlds in which times and leaders are real.
//!
//! Compared is what happens to each host, each instance and the cluster, one after the other. What a world in real time
//! decides by chance has no place in it: times, log indexes, who leads, which two of three votes came first, how often
//! something was tried again.

use std::collections::{BTreeMap, BTreeSet};

/// Two things that the written log tells this far apart happen in that order whatever they happen to, as long as nobody
/// mends anything.
const APART_MS: i64 = 10_000;

/// From here on people mend everything, each thing when they find it.
const MENDED: &str = "everything is healed";

/// A command was refused. Worlds find other words for why.
const TOLD: &str = "the operator is told: ";

/// One line, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    at_ms: i64,
    /// The host or the instance that it is about; nothing when it is about the cluster.
    about: String,
    words: String,
}

/// Returns what is missing of `expect` in `found`, stands elsewhere there, or must not be there; `None` when all is well.
pub(super) fn disorder(expect: &str, found: &str) -> Option<String> {
    let (expect, found) = (lines(expect), lines(found));
    missing(&expect, &found).or_else(|| uncalled_for(&expect, &found)).or_else(|| swapped(&expect, &found))
}

/// Returns whether everything that `expect` tells before its `nth` fault, counted from 0, is told in `found`, off orders
/// included: how often one is sent is chance, and a fault may be meant to come behind it.
pub(super) fn is_ready(expect: &str, nth: usize, found: &str) -> bool {
    let lines_before = expect.lines().scan(0, |faults, line| {
        *faults += usize::from(is_fault(line));
        (*faults <= nth).then_some(line)
    });
    let before = lines_before.collect::<Vec<_>>().join("\n");
    let orders = |log: &str| log.matches(OFF_TAKEN).count();
    orders(&before) <= orders(found) && missing(&lines(&before), &lines(found)).is_none()
}

fn is_fault(line: &str) -> bool {
    line.split_whitespace().nth(1) == Some(">")
}

fn by_subject(lines: &[Line]) -> BTreeMap<&str, Vec<&Line>> {
    let mut subjects: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    lines.iter().for_each(|line| subjects.entry(&line.about).or_default().push(line));
    subjects
}

/// What each subject is expected to go through is a part of what it goes through.
fn missing(expect: &[Line], found: &[Line]) -> Option<String> {
    let happened = by_subject(found);
    for (about, expected) in by_subject(expect) {
        let happened = happened.get(about).map(Vec::as_slice).unwrap_or_default();
        let mut rest = happened.iter();
        for (nth, line) in expected.iter().enumerate() {
            if rest.any(|other| other.words == line.words) {
                continue;
            }
            let mut why =
                format!("'{}' does not follow where it should; what happens to {}:\n", line.words, name(about));
            let told = |mark: char, line: &Line| format!("{mark} {:>8.3}  {}\n", seconds(line.at_ms), line.words);
            expected[..nth].iter().for_each(|line| why += &told(' ', line));
            expected[nth..].iter().for_each(|line| why += &told('-', line));
            happened.iter().for_each(|line| why += &told('+', line));
            return Some(why);
        }
    }
    None
}

/// Nothing is fenced, powered off or started that nobody expects to be.
fn uncalled_for(expect: &[Line], found: &[Line]) -> Option<String> {
    let count = |lines: &[Line]| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for line in lines.iter().filter(|line| is_grave(&line.words)) {
            *counts.entry(line.words.clone()).or_default() += 1;
        }
        counts
    };
    let expected = count(expect);
    let mut why = String::new();
    for (words, times) in count(found) {
        let allowed = expected.get(&words).copied().unwrap_or(0);
        if times > allowed {
            why += &format!("'{words}' happens {times} times and not {allowed}\n");
        }
    }
    (!why.is_empty()).then_some(why)
}

fn is_grave(words: &str) -> bool {
    let is_start = words.ends_with(" runs") && !words.starts_with("instance ");
    is_start || words.contains(" decided, token ") || words.ends_with(" by its BMC")
}

/// What is far apart in the written log happens in that order.
fn swapped(expect: &[Line], found: &[Line]) -> Option<String> {
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    let mut earlier: Vec<(&Line, usize)> = Vec::new();
    for line in expect.iter().take_while(|line| line.words != MENDED) {
        let from = taken.get(line.about.as_str()).copied().unwrap_or(0);
        let is_it = |other: &&Line| other.about == line.about && other.words == line.words;
        let at = from + found.get(from..)?.iter().position(|other| is_it(&other))?;
        taken.insert(&line.about, at + 1);
        let before = earlier.iter().find(|(before, place)| line.at_ms - before.at_ms >= APART_MS && *place > at);
        if let Some((before, _)) = before {
            return Some(format!("'{}' happens before '{}'\n", line.words, before.words));
        }
        earlier.push((line, at));
    }
    None
}

fn seconds(at_ms: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "stories take minutes")]
    let millis = at_ms as f64;
    millis / 1000.0
}

fn name(about: &str) -> &str {
    if about.is_empty() { "the cluster" } else { about }
}

/// Reads what is compared of a log.
fn lines(log: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut tried: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut asked = String::new();
    for text in log.lines() {
        let Some((time, told)) = text.trim_start().split_once("  ") else { continue };
        let Ok(at) = time.replace('.', "").parse::<i64>() else { continue };
        let told = match told.strip_prefix('#') {
            Some(rest) => rest.split_once("  ").map_or(rest, |(_, told)| told),
            None => told,
        };
        // What an operator is told is about a command, and not about whom somebody asked before.
        let is_answer = told.starts_with("  ") && !told.contains(TOLD);
        let Some(words) = plain(told.trim()) else { continue };
        let about = match subject(&words) {
            Some(about) => about,
            None if is_answer => asked.clone(),
            None => String::new(),
        };
        if is_answer {
            asked.clone_from(&about);
        }
        let attempts = tried.entry(about.clone()).or_default();
        if is_attempt(&words) {
            if !attempts.insert(words.clone()) {
                continue;
            }
        } else if words.contains(" decided, token ") {
            attempts.clear();
        }
        lines.push(Line { at_ms: at, about, words });
    }
    lines
}

fn is_attempt(words: &str) -> bool {
    [" may fence ", " did not prove ", "no level proves "].iter().any(|part| words.contains(part))
}

/// What begins like this goes on with a name or a reason that each world chooses for itself.
const NAMED: [(&str, &str); 3] =
    [(TOLD, "the operator is told why not"), ("cluster ", "a cluster is created"), ("armed: ", "armed")];

/// A BMC heard an off order.
const OFF_TAKEN: &str = " takes an off order";

/// What is told many times, by whoever is first, or by one world only.
const CHANCE: [&str; 15] = [
    // Of two hosts between which an instance moved, either may list first.
    " stands on ",
    "join token ",
    " votes: ",
    " leads",
    " not lead any more",
    "clients: ",
    "verdict: ",
    " sends an off order for ",
    OFF_TAKEN,
    " applied up to ",
    " reports boot ",
    " installs a snapshot ",
    " is killed",
    " ends itself: ",
    "nobody leads, and nobody answers",
];

/// Returns a line without what chance decides; `None` when nothing is left.
fn plain(told: &str) -> Option<String> {
    if CHANCE.iter().any(|part| told.contains(part)) {
        return None;
    }
    for (begins, instead) in NAMED {
        if told.starts_with(begins) {
            return Some(instead.into());
        }
    }
    // A host in another boot is lost by votes, or by its own word, whichever comes first.
    if let Some((who, _)) = told.split_once(" lost by ").or_else(|| told.split_once(" rebooted by itself")) {
        return Some(format!("{who} lost"));
    }
    // Which of two equal hosts takes an instance depends on which of two lost ones was lost first.
    match told.split(' ').collect::<Vec<_>>().as_slice() {
        ["start", name, "ordered,", ..] => return Some(format!("start {name} ordered")),
        ["instance", name, "runs", ..] => return Some(format!("instance {name} runs")),
        [name, "runs", "on", ..] => return Some(format!("{name} runs")),
        _ => {}
    }
    if let Some((fenced, _)) = told.split_once(" vouches: ") {
        let (host, _) = fenced.split_once(',').unwrap_or((fenced, ""));
        return Some(format!("{host}, a person vouches"));
    }
    // Whether an order that a dead controller sent has arrived by now is chance, too.
    let told = &told.replace(": found off and", ": off and").replace(": powered off and", ": off and");
    let is_fault = told.starts_with("> ");
    let mut words: Vec<String> = Vec::new();
    for word in told.split(' ') {
        let bare = word.trim_matches(|letter: char| ",.;:()".contains(letter));
        let is_number = !bare.is_empty() && bare.chars().all(|letter| letter.is_ascii_digit());
        let word = match bare {
            _ if is_fault => word.to_string(),
            _ if bare.starts_with('#') => word.replace(bare, "#"),
            _ if bare.starts_with("controller-") => word.replace(bare, "a-controller"),
            _ if is_number && words.last().is_none_or(|last| last != "boot") => word.replace(bare, "N"),
            _ => word.to_string(),
        };
        words.push(word);
    }
    Some(words.join(" "))
}

/// Returns the instance or the host that a line is about.
fn subject(words: &str) -> Option<String> {
    let all: Vec<&str> = words.split(' ').collect();
    let instance = match all.as_slice() {
        ["start", name, "ordered", ..] | ["instance", name, ..] | [name, "runs"] | [name, "ends", "on", ..] => {
            Some(*name)
        }
        [">", "instance", name, ..] => Some(*name),
        _ => None,
    };
    let is_host = |word: &&str| {
        word.strip_prefix("host").is_some_and(|digits| digits.starts_with(|letter: char| letter.is_ascii_digit()))
    };
    let host =
        || all.iter().find(|word| is_host(word)).map(|word| word.trim_matches(|letter| ",.;:()".contains(letter)));
    instance.or_else(host).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = "   0.000  controller-1 leads
   5.000  > isolate host host2
   7.294  #39  controller-1 votes: host2 unreachable
   7.301  #40  host host2 lost by 2 of 3 votes
   7.313  #42  fence host2 decided, token #42
   7.324  #43  controller-1 may fence host2, token #42, level 1, attempt 1
   7.404  host2 goes off, by its BMC
   7.404  vm2 ends on host2
   7.464  #44  host host2 fenced, token #42: powered off and read off twice, level 1
   7.473  #45  start vm2 ordered, host2 to host1, token #45
   7.524  vm2 runs on host1, token #45
  20.000  > host host3 reboot
  20.100  host3 loses its power
";

    fn with(change: &[(&str, &str)]) -> Option<String> {
        let found = change.iter().fold(WRITTEN.to_string(), |log, (this, that)| log.replace(this, that));
        assert!(change.is_empty() || found != WRITTEN);
        disorder(WRITTEN, &found)
    }

    #[test]
    fn what_chance_decides_is_not_compared() {
        let attempt = "   7.324  #43  controller-1 may fence host2, token #42, level 1, attempt 1\n";
        let again = format!("{attempt}   7.400  #99  controller-2 may fence host2, token #42, level 1, attempt 2\n");
        assert_eq!(with(&[]), None);
        assert_eq!(
            with(&[(attempt, &again), ("#40", "#51"), ("7.404  host2", "9.404  host2"), ("2 of 3", "3 of 3")]),
            None
        );
        assert_eq!(with(&[("powered off and", "found off and")]), None);
    }

    #[test]
    fn what_is_missing_or_too_early_is_named() {
        let why = with(&[("   7.301  #40  host host2 lost by 2 of 3 votes\n", "")]).unwrap();
        assert!(why.starts_with("'host host2 lost' does not follow where it should"), "{why}");
        let fenced = "   7.464  #44  host host2 fenced, token #42: powered off and read off twice, level 1\n";
        let early =
            format!("   4.000  #44  host host2 fenced, token #42: powered off and read off twice, level 1\n{WRITTEN}");
        assert!(disorder(WRITTEN, &early.replacen(fenced, "", 1)).is_some());
    }

    #[test]
    fn a_fence_that_nobody_expects_is_named() {
        let more = format!("{WRITTEN}  21.000  #60  fence host3 decided, token #60\n");
        let why = "'fence host3 decided, token #' happens 1 times and not 0\n".to_string();
        assert_eq!(disorder(WRITTEN, &more), Some(why));
    }

    #[test]
    fn things_far_apart_keep_their_order() {
        let (reboot, lost) = ("  20.000  > host host3 reboot\n", "  20.100  host3 loses its power\n");
        let early = format!("   3.000  > host host3 reboot\n   3.100  host3 loses its power\n{WRITTEN}");
        let early = early.replacen(reboot, "", 1).replacen(lost, "", 1);
        assert_eq!(
            disorder(WRITTEN, &early),
            Some("'> host host3 reboot' happens before '> isolate host host2'\n".into())
        );
    }

    #[test]
    fn a_fault_waits_for_what_is_told_before_it() {
        let until = |part: &str| &WRITTEN[..WRITTEN.find(part).unwrap()];
        assert!(is_ready(WRITTEN, 0, ""));
        assert!(!is_ready(WRITTEN, 1, until("   7.524")));
        assert!(is_ready(WRITTEN, 1, until("  20.000")));
    }

    #[test]
    fn a_fault_waits_for_the_off_order_before_it() {
        let order = "   7.350  the BMC of host2 takes an off order\n";
        let written = WRITTEN.replace("   7.404  host2", &format!("{order}   7.404  host2"));
        let found = written.replace("  20.000  > host host3 reboot\n  20.100  host3 loses its power\n", "");
        assert!(is_ready(&written, 1, &found));
        assert!(!is_ready(&written, 1, &found.replace(order, "")));
        assert!(is_ready(&written, 0, ""));
    }
}
