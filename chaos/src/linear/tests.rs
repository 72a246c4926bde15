//! Guilty and innocent histories, by hand and by the thousand.

use super::history::{Answer, History, Operation};
use super::sample::{ABSENT, Story, create, take, value, write};
use super::*;

mod crowds;

const BUDGET: u64 = 100_000;

#[track_caller]
fn innocent(story: &Story) {
    let report = judge(&story.history, BUDGET);
    assert!(report.holds(), "{report}");
}

#[track_caller]
fn guilty(story: &Story, words: &str) {
    let report = judge(&story.history, BUDGET);
    assert_eq!(report.undecided, Vec::<String>::new());
    assert!(report.broken.iter().any(|why| why.contains(words)), "{report}");
}

const SETTINGS: &str = "settings";

#[test]
fn reads_that_follow_the_writes_are_innocent() {
    let story = Story::default()
        .opens(SETTINGS, "a")
        .does(1, SETTINGS, Operation::Read, value("a"))
        .does(2, SETTINGS, write("b"), Answer::Done)
        .does(3, SETTINGS, Operation::Read, value("b"));
    innocent(&story);
}

#[test]
fn a_read_during_a_write_may_see_either_value() {
    let during = |seen: &str| {
        Story::default()
            .opens(SETTINGS, "a")
            .asks(1, SETTINGS, write("b"))
            .does(2, SETTINGS, Operation::Read, value(seen))
            .hears(1, Answer::Done)
    };
    innocent(&during("a"));
    innocent(&during("b"));
}

#[test]
fn a_stale_read_is_convicted() {
    let story = Story::default().opens(SETTINGS, "a").does(1, SETTINGS, write("b"), Answer::Done).does(
        2,
        SETTINGS,
        Operation::Read,
        value("a"),
    );
    guilty(&story, "no order of its operations explains every answer");
}

#[test]
fn a_lost_write_is_convicted() {
    let story = Story::default()
        .does(1, SETTINGS, write("a"), Answer::Done)
        .does(2, SETTINGS, write("b"), Answer::Done)
        .does(3, SETTINGS, Operation::Read, value("a"));
    guilty(&story, "it is \"a\"");
}

#[test]
fn a_write_that_is_seen_and_then_unseen_is_convicted() {
    let story = Story::default()
        .opens(SETTINGS, "a")
        .asks(1, SETTINGS, write("b"))
        .does(2, SETTINGS, Operation::Read, value("b"))
        .does(3, SETTINGS, Operation::Read, value("a"))
        .hears(1, Answer::Done);
    guilty(&story, "no place");
}

#[test]
fn a_value_that_nobody_wrote_is_convicted() {
    let story = Story::default().opens(SETTINGS, "a").does(1, SETTINGS, Operation::Read, value("half of b"));
    guilty(&story, "\"half of b\" is read, and nobody ever wrote it");
}

#[test]
fn a_write_that_did_nothing_and_is_seen_is_convicted() {
    let story =
        Story::default().does(1, SETTINGS, write("b"), Answer::Nothing).does(2, SETTINGS, Operation::Read, value("b"));
    guilty(&story, "who wrote it was told that nothing was done");
}

#[test]
fn an_unknown_write_may_take_effect_late_or_never() {
    let unknown = Story::default()
        .opens(SETTINGS, "a")
        .does(1, SETTINGS, write("b"), Answer::Unknown)
        .does(2, SETTINGS, Operation::Read, value("a"))
        .does(3, SETTINGS, write("c"), Answer::Done)
        .does(4, SETTINGS, Operation::Read, value("c"));
    innocent(&unknown);
    innocent(&unknown.does(5, SETTINGS, Operation::Read, value("b")));
}

#[test]
fn an_unknown_write_that_takes_effect_and_disappears_is_convicted() {
    let story = Story::default()
        .opens(SETTINGS, "a")
        .asks(1, SETTINGS, write("b"))
        .does(2, SETTINGS, Operation::Read, value("b"))
        .does(3, SETTINGS, Operation::Read, value("a"));
    guilty(&story, "no order");
}

#[test]
fn an_unknown_write_that_is_seen_before_it_was_sent_is_convicted() {
    let story = Story::default().opens(SETTINGS, "a").does(1, SETTINGS, Operation::Read, value("b")).asks(
        2,
        SETTINGS,
        write("b"),
    );
    guilty(&story, "no order");
}

#[test]
fn a_retry_that_takes_effect_again_is_convicted() {
    let story = Story::default()
        .asks(1, SETTINGS, write("a"))
        .attempt(1, 1, Some("done"))
        .hears(1, Answer::Done)
        .does(2, SETTINGS, write("b"), Answer::Done)
        .attempt(1, 2, Some("done"));
    innocent(&story.clone().does(3, SETTINGS, Operation::Read, value("b")));
    guilty(&story.does(3, SETTINGS, Operation::Read, value("a")), "no order");
}

#[test]
fn an_answer_that_fits_no_question_is_convicted() {
    guilty(&Story::default().does(1, SETTINGS, Operation::Read, Answer::Done), "'done' is no answer to 'read'");
}

#[test]
fn a_latch_keeps_what_took_it_until_it_is_freed() {
    let host = "maintenance of host1";
    let story = Story::default()
        .does(1, host, take("disks"), Answer::Done)
        .does(2, host, take("memory"), Answer::Done)
        .does(3, host, Operation::Read, value("disks"));
    innocent(&story.clone().does(4, host, Operation::Free, Answer::Done).does(5, host, Operation::Read, ABSENT));
    guilty(&story.clone().does(4, host, Operation::Read, value("memory")), "no order");
    guilty(
        &story.clone().does(4, host, Operation::Free, Answer::Done).does(5, host, Operation::Read, value("disks")),
        "no order",
    );
    innocent(&story.does(4, host, Operation::Free, Answer::Unknown).does(5, host, Operation::Read, ABSENT));
}

#[test]
fn two_that_both_created_it_are_convicted() {
    let segment = "segment rack1";
    let both =
        |second| Story::default().does(1, segment, create("a"), Answer::Done).does(2, segment, create("b"), second);
    innocent(&both(Answer::Refused).does(3, segment, Operation::Read, value("a")));
    guilty(&both(Answer::Done), "no order");
    guilty(&both(Answer::Refused).does(3, segment, Operation::Read, value("b")), "who wrote it was told");
    guilty(&both(Answer::Refused).does(3, segment, Operation::Read, ABSENT), "no order");
}

#[test]
fn who_is_refused_before_anybody_created_it_is_convicted() {
    let segment = "segment rack1";
    let story =
        Story::default().does(1, segment, create("a"), Answer::Refused).does(2, segment, create("b"), Answer::Done);
    guilty(&story, "no order");
    let unknown = Story::default().does(3, segment, create("c"), Answer::Unknown);
    innocent(&unknown.clone().does(1, segment, create("a"), Answer::Refused));
    let never = unknown.does(1, segment, create("a"), Answer::Refused).does(2, segment, Operation::Read, ABSENT);
    guilty(&never, "no order");
}

#[test]
fn a_ticket_is_used_as_often_as_it_was_issued_for() {
    let token = "join token 1";
    let story = Story::default()
        .does(1, token, Operation::Use, Answer::Refused)
        .does(2, token, Operation::Issue(2), Answer::Done)
        .does(3, token, Operation::Use, Answer::Done)
        .does(4, token, Operation::Use, Answer::Done);
    innocent(&story.clone().does(5, token, Operation::Use, Answer::Refused));
    guilty(&story.clone().does(5, token, Operation::Use, Answer::Done), "good for 0 uses");
    let unknown = Story::default().does(1, token, Operation::Issue(1), Answer::Done).does(
        2,
        token,
        Operation::Use,
        Answer::Unknown,
    );
    innocent(&unknown.clone().does(3, token, Operation::Use, Answer::Refused));
    innocent(&unknown.clone().does(3, token, Operation::Use, Answer::Done));
    guilty(
        &unknown.does(3, token, Operation::Use, Answer::Done).does(4, token, Operation::Use, Answer::Done),
        "no order",
    );
}

#[test]
fn a_request_keeps_its_first_answer() {
    let story = Story::default()
        .asks(1, "segment rack1", create("a"))
        .attempt(1, 1, None)
        .attempt(1, 2, Some("done"))
        .hears(1, Answer::Done);
    innocent(&story.clone().attempt(1, 3, Some("done")));
    guilty(
        &story.attempt(1, 3, Some("it exists")),
        "one request got two answers: \"done\" at controller-2, then \"it exists\"",
    );
}

#[test]
fn two_requests_that_are_given_the_same_token_are_convicted() {
    let story = |second| {
        Story::default()
            .asks(1, "join token 1", Operation::Issue(1))
            .attempt(1, 1, Some("gave token x"))
            .asks(2, "join token 2", Operation::Issue(1))
            .attempt(2, 1, Some(second))
    };
    innocent(&story("gave token y"));
    guilty(&story("gave token x"), "calls 1 and 2 were both told \"gave token x\"");
}

#[test]
fn the_log_tells_once_of_what_was_asked_once() {
    let story = Story::default()
        .asks_for(1, "armed", write("armed: a"), "armed: a")
        .hears(1, Answer::Done)
        .asks_for(2, "armed", write("armed: b"), "armed: b")
        .asks_for(3, "armed", write("armed: c"), "armed: c")
        .hears(3, Answer::Nothing);
    innocent(&story.clone().log(&["armed: a"]));
    innocent(&story.clone().log(&["armed: a", "armed: b", "somebody else's"]));
    guilty(&story.clone().log(&["armed: a", "armed: a"]), "tells 2 times of \"armed: a\", which was asked for 1 times");
    guilty(&story.clone().log(&["armed: b"]), "tells 0 times of \"armed: a\", which was acknowledged 1 times");
    guilty(&story.log(&["armed: a", "armed: c"]), "tells 1 times of \"armed: c\", which was asked for 0 times");
}

#[test]
fn entries_of_the_log_grow_as_time_does() {
    let story = Story::default().asks(1, "a", write("a")).asks(2, "b", write("b")).hears_at(1, Answer::Done, 7);
    innocent(&story.clone().hears_at(2, Answer::Done, 6));
    guilty(&story.clone().hears_at(2, Answer::Done, 7), "calls 1 and 2 are both at log #7");
    let later = story.asks(3, "c", write("c"));
    innocent(&later.clone().hears_at(3, Answer::Done, 8));
    guilty(&later.hears_at(3, Answer::Done, 6), "call 3 (write \"c\" to c) is at log #6, and call 1 had been answered");
    let read = Story::default().asks(1, "a", write("a")).hears_at(1, Answer::Done, 7).asks(2, "b", Operation::Read);
    innocent(&read.clone().hears_at(2, ABSENT, 7));
    guilty(&read.hears_at(2, ABSENT, 6), "is at log #6");
}

#[test]
fn what_a_controller_shows_may_be_old_and_never_goes_back() {
    let peek = |story: Story, call, controller, seen: &str, index| {
        story.asks(call, "armed", Operation::Peek).attempt(call, controller, None).hears_at(call, value(seen), index)
    };
    let written = Story::default().opens("armed", "a").asks(1, "armed", write("b")).hears_at(1, Answer::Done, 9);
    let story = peek(peek(written, 2, 1, "b", 9), 3, 2, "a", 5);
    innocent(&story);
    guilty(&peek(story.clone(), 4, 1, "a", 5), "controller-1 showed log #9 to call 2, and later only log #5 to call 4");
    guilty(&peek(story, 4, 2, "c", 10), "call 4 saw \"c\" at armed, which nobody had written");
}

#[test]
fn a_value_that_is_written_twice_cannot_be_decided() {
    let story =
        Story::default().does(1, SETTINGS, write("a"), Answer::Done).does(2, SETTINGS, write("a"), Answer::Done);
    let report = judge(&story.history, BUDGET);
    assert_eq!((report.broken.len(), report.undecided.len(), report.holds()), (0, 1, false), "{report}");
}

#[test]
fn what_is_written_is_read_back_as_it_was() {
    let history = Story::default()
        .opens(SETTINGS, "a \"quoted\"\nword")
        .asks_for(1, SETTINGS, write("b"), "settings changed")
        .asks(2, "segment rack1", create("c"))
        .attempt(1, 3, Some("done"))
        .hears_at(1, Answer::Done, u64::MAX)
        .does(3, "join token 1", Operation::Issue(7), Answer::Nothing)
        .does(4, "join token 1", Operation::Use, Answer::Refused)
        .does(5, "host1", take("d"), Answer::Unknown)
        .does(6, "host1", Operation::Free, Answer::Done)
        .does(7, SETTINGS, Operation::Peek, value("a"))
        .does(8, "host1", Operation::Read, ABSENT)
        .log(&["settings changed"])
        .history;
    let mut bytes = Vec::new();
    history.write(&mut bytes).unwrap();
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), history.records.len());
    assert_eq!(History::read(bytes.as_slice()).unwrap(), history);
    let error = History::read(&b"{\"at\":1,\"client\":2}\n"[..]).unwrap_err();
    assert_eq!(error.to_string(), "line 1 is no line of a clients' history");
}
