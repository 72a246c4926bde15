//! Pages of runs: one file, every word shown as text, and the broken promise where it broke.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use quorumfence_chaos::history::History;
use quorumfence_chaos::observation::{Cause, Observation, Seen};
use quorumfence_chaos::report::{Summary, page};
use quorumfence_chaos::verdict::Court;
use quorumfence_machine::{BootId, ControllerId, Event, HostId, InstanceId, LogIndex, Millis, Segment, Settings};

/// A word that would be code if anybody believed it.
const HOSTILE: &str = "</title><script>alert('x')</script>\" onload=\"alert(1)\" &amp; <img src=http://evil.example/x>";

fn host(name: &str) -> HostId {
    name.parse().unwrap()
}

fn instance(number: u128) -> InstanceId {
    InstanceId(number.to_be_bytes())
}

/// An instance that runs on two hosts at once, after a fence that its log tells of.
fn double_run(word: &str) -> Vec<Observation> {
    let registered = Event::InstanceRegistered { instance: instance(1), name: word.into(), host: host("a") };
    let applied = |index, events| Seen::Applied {
        controller: ControllerId(1),
        index: LogIndex(index),
        content: index,
        events,
        digest: None,
    };
    let seen = [
        (0, Seen::Opened { run: word.into(), settings: Settings::default(), segment: Segment::default() }),
        (0, Seen::Running { controller: ControllerId(1), applied: LogIndex(0) }),
        (10, Seen::PowerOn { host: host("a"), boot: BootId([1; 16]) }),
        (10, Seen::PowerOn { host: host("b"), boot: BootId([2; 16]) }),
        (20, applied(1, vec![registered, Event::Disarmed { reason: word.into() }])),
        (1000, Seen::Started { instance: instance(1), host: host("a"), token: None }),
        (2000, Seen::Fault { what: format!("isolate host a {word}") }),
        (2500, Seen::PowerOff { host: host("b"), cause: Cause::Outside }),
        (3000, Seen::PowerOn { host: host("b"), boot: BootId([3; 16]) }),
        (4000, Seen::Started { instance: instance(1), host: host("b"), token: None }),
        (9000, Seen::Closed),
    ];
    seen.into_iter().map(|(at, seen)| Observation { at: Millis(at), seen }).collect()
}

fn drawn(run: &str, observations: &[Observation]) -> String {
    let mut court = Court::default();
    let broken = observations.iter().find_map(|observation| court.see(observation));
    let summary = Summary { run: run.into(), broken, again: Some(run.into()), ..Summary::default() };
    page(&summary, observations)
}

#[test]
fn hostile_words_are_shown_and_not_obeyed() {
    let text = drawn(HOSTILE, &double_run(HOSTILE));
    assert_eq!(text.matches("<script>").count(), 1, "only the page's own");
    for bad in ["<img", "onload=\"", "alert('x')", "<title></title>", "evil.example/x>"] {
        assert!(!text.contains(bad), "{bad}");
    }
    assert!(text.contains("&lt;/title&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot; onload=&quot;alert(1)&quot; &amp;amp; &lt;img"));
    let broken = drawn(HOSTILE, &double_run("a\u{202e}\u{1b}[31m\0b"));
    assert!(!broken.contains('\0') && !broken.contains('\u{1b}'));
}

#[test]
fn a_page_asks_for_nothing_outside_of_it() {
    let text = drawn("a run", &double_run("vm1"));
    let outside = ["src=", "url(", "@import", "<link", "<iframe", "fetch(", "XMLHttp", "import("];
    assert_eq!(outside.into_iter().filter(|way| text.contains(way)).collect::<Vec<&str>>(), Vec::<&str>::new());
    let addresses: Vec<&str> = text.split("http").skip(1).collect();
    assert!(
        addresses.iter().all(|rest| rest.starts_with("://www.w3.org/2000/svg") || rest.starts_with("-equiv")),
        "{addresses:?}"
    );
    assert!(text.contains("default-src 'none'"));
}

#[test]
fn the_broken_promise_is_named_and_marked_where_it_broke() {
    let text = drawn("a run", &double_run("vm1"));
    assert!(text.contains("<b>S1 is broken</b> at <a href=\"#o9\">4.000 s</a>"), "{text}");
    assert!(text.contains("class=\"breach\"") && text.contains("<tr id=\"o9\" class=\"breach-row\">"));
    let held = drawn("a run", &double_run("vm1")[..6]);
    assert!(held.contains("Every promise held.") && !held.contains("class=\"breach\""), "{held}");
}

#[test]
fn everything_that_was_seen_has_its_lane_and_its_line() {
    let observations = double_run("vm1");
    let text = drawn("a run", &observations);
    for name in [">faults</div>", ">controller-1</div>", ">a</div>", ">b</div>", ">vm1</div>"] {
        assert!(text.contains(name), "{name}");
    }
    assert_eq!(text.matches("<tr id=\"o").count(), observations.len());
    assert!(text.contains("vm1 runs on a, 1.000 s to 9.000 s") && text.contains("vm1 runs on b, 4.000 s to 9.000 s"));
    assert!(text.contains("b has power, 0.010 s to 2.500 s") && text.contains("b has power, 3.000 s to 9.000 s"));
    // The fault is marked in the lane of all faults and in that of the host.
    assert_eq!(text.matches("<title>2.000 s fault: isolate host a vm1</title>").count(), 2);
    for link in text.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(text.contains(&format!("<tr id=\"{link}\"")), "{link}");
    }
}

#[test]
fn an_empty_history_is_a_page_too() {
    assert!(page(&Summary::default(), &[]).contains("Every promise held."));
}

fn chaos(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_quorumfence-chaos")).args(arguments).output().unwrap()
}

#[test]
fn a_case_and_the_history_of_its_run_give_pages() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_string();
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/snapshot-overtaken-by-entries.json");
    let ran = chaos(&["report", case.to_str().unwrap(), "--out", &path("case.html")]);
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(fs::read_to_string(path("case.html")).unwrap().contains("controller-3"));

    let guilty = History { observations: double_run("vm1") };
    guilty.write(fs::File::create(path("guilty.jsonl")).unwrap()).unwrap();
    let ran = chaos(&["report", "--history", &path("guilty.jsonl"), "--out", &path("guilty.html")]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8(ran.stdout).unwrap().contains("guilty.html: S1 is broken at 4.000 s: "));

    let ran = chaos(&["report", "--history", &path("case.html"), "--out", &path("x.html")]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(!Path::new(&path("x.html")).exists());
}

#[test]
fn a_soak_ends_with_its_time_and_says_where_it_began() {
    let place = tempfile::tempdir().unwrap();
    let cases = place.path().to_str().unwrap();
    let ran = chaos(&["soak", "--minutes", "0.02", "--from", "7", "--jobs", "1", "--cases", cases]);
    let said = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(ran.status.code(), Some(0), "{said}");
    assert!(said.starts_with("seeds from 7 on, for 0.0 minutes; again: quorumfence-chaos sim --from 7\n"), "{said}");
    assert!(said.ends_with("; 0 broken\n") && !said.contains("\n0 seeds, "), "{said}");
    assert_eq!(ran.stderr, b"", "nothing is drawn where there is no terminal");
    let none = chaos(&["soak"]);
    assert_eq!(none.status.code(), Some(2));
}
