//! Every story is told as it is written; together they show every event, every reason and every rule.
//!
//! `QUORUMFENCE_BLESS=1` writes the logs anew. Read them as if a customer had written them.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorumfence_chaos::story::cover::{EVENTS, PARKINGS, REASONS, Shown};
use quorumfence_chaos::story::{self, BLESS, RULES, Story};

/// Fewer stories than this is a loss that somebody should notice.
const STORIES_MIN: usize = 60;

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}

/// Plays one story; returns what it shows, or how it is told otherwise.
fn play(story: &Story) -> Result<Shown, String> {
    let played = story.play().map_err(|error| format!("{}: {error:#}", story.name))?;
    if let Some(broken) = &played.broken {
        return Err(format!("{}: {broken}\n{}", story.name, played.log));
    }
    if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
        story.bless(&played).unwrap();
    } else if let Some(difference) = story.difference(&played) {
        return Err(format!("{}: {difference}", story.name));
    }
    let judged = |promise: &String| played.told.judged.get(promise.as_str()).is_some_and(|times| *times > 0);
    if let Some(promise) = story.promises.iter().find(|promise| !judged(promise)) {
        return Err(format!("{}: it is said to show {promise}, which it does not put to the test", story.name));
    }
    let mut shown = Shown::default();
    shown.take(&played.told, story.scene.founding);
    Ok(shown)
}

#[test]
fn every_story_is_told_as_it_is_written_and_together_they_show_every_event_and_reason() {
    let stories = story::all(&scenarios()).unwrap();
    assert!(stories.len() >= STORIES_MIN, "{} stories", stories.len());
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Shown::default(), Vec::new()));
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(story) = stories.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let played = play(story);
                    let mut results = results.lock().unwrap();
                    match played {
                        Ok(shown) => results.0.add(shown),
                        Err(why) => results.1.push(why),
                    }
                }
            });
        }
    });
    let (shown, differences) = results.into_inner().unwrap();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let missing = |all: &[&'static str], shown: &BTreeSet<&'static str>| -> Vec<&'static str> {
        all.iter().copied().filter(|kind| !shown.contains(kind)).collect()
    };
    assert_eq!(missing(EVENTS, &shown.events), Vec::<&str>::new(), "events without a story");
    assert_eq!(missing(REASONS, &shown.reasons), Vec::<&str>::new(), "reasons without a story");
    assert_eq!(missing(PARKINGS, &shown.parkings), Vec::<&str>::new(), "parkings without a story");
}

#[test]
fn a_word_that_changed_is_found() {
    let mut story = story::all(&scenarios()).unwrap().remove(0);
    let expect = story.expect.clone().unwrap();
    let played = story.play().unwrap();
    assert_eq!(story.difference(&played), None);
    story.expect = Some(expect.replacen("votes", "thinks", 1));
    let difference = story.difference(&played).unwrap();
    assert!(difference.starts_with("the logs part at line "), "{difference}");
    assert!(difference.contains("thinks") && difference.contains("votes"), "{difference}");
    story.expect = Some(expect.lines().take(3).map(|line| format!("{line}\n")).collect());
    assert!(story.difference(&played).unwrap().starts_with("the logs part at line 4\n"));
}

#[test]
fn every_rule_has_its_stories_or_a_sentence() {
    let stories = story::all(&scenarios()).unwrap();
    let mut told: BTreeMap<u8, BTreeSet<String>> = BTreeMap::new();
    for story in &stories {
        for rule in &story.rules {
            told.entry(*rule).or_default().insert(story.name.clone());
        }
    }
    let page = fs::read_to_string(scenarios().join("README.md")).unwrap();
    let mut rules = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [rule, text] = cells[..] else { continue };
        let Ok(rule) = rule.parse::<u8>() else { continue };
        let named: BTreeSet<String> =
            text.split('`').skip(1).step_by(2).filter(|word| word.contains('/')).map(String::from).collect();
        assert_eq!(named, told.remove(&rule).unwrap_or_default(), "rule {rule}: the table and the stories differ");
        assert!(!named.is_empty() || text.ends_with('.'), "rule {rule} has neither a story nor a sentence");
        rules.push(rule);
    }
    assert_eq!(rules, (1..=RULES).collect::<Vec<u8>>());
}
