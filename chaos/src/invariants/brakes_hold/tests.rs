use std::collections::BTreeSet;

use quorumfence_machine::{Millis, ProofClass, Segment, Settings};

use super::*;
use crate::invariants::sample::{
    Story, acquits, admitted, armed, boot, convicts, decided, fenced, host, lost, needs_human, new_boot, off_proof,
    rebooted, word_of_a_person,
};

const HOSTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// An armed cluster of eight hosts that fences two at once and three in 100 s, and keeps half of them.
fn before() -> Story {
    let settings =
        Settings { fences_in_flight_max: 2, storm_fences_max: 3, storm_window: Millis(100_000), ..Settings::default() };
    let segment = Segment { minimum_healthy_percent: 50, ..Segment::default() };
    let hosts = HOSTS.iter().map(|name| admitted(name, 1)).collect();
    Story::opened(settings, segment).entry(1, hosts).entry(2, vec![armed()])
}

/// A host is lost and its fence decided at `index`.
fn fence(story: Story, name: &str, index: u64) -> Story {
    story.entry(index - 1, vec![lost(name)]).entry(index, vec![decided(name, index)])
}

/// A host is fenced from loss to proof.
fn whole_fence(story: Story, name: &str, index: u64) -> Story {
    fence(story, name, index).entry(index + 1, vec![fenced(name, index, off_proof())])
}

fn disarmed() -> Event {
    Event::Disarmed { reason: "drill".into() }
}

fn in_maintenance(name: &str) -> Event {
    Event::MaintenanceStarted { host: host(name), reason: "new disks".into() }
}

#[test]
fn a_fence_while_disarmed_is_a_breach() {
    convicts::<BrakesHold>(&fence(Story::new(), "a", 5), "token #5, is decided although the cluster is disarmed");
    convicts::<BrakesHold>(&fence(before().entry(3, vec![disarmed()]), "a", 5), "the cluster is disarmed");
    acquits::<BrakesHold>(&fence(before(), "a", 5));
    acquits::<BrakesHold>(&fence(before(), "a", 5).entry(6, vec![disarmed()]));
}

#[test]
fn a_fence_of_a_host_in_maintenance_is_a_breach() {
    let story = before().entry(3, vec![in_maintenance("a")]);
    convicts::<BrakesHold>(&fence(story.clone(), "a", 6), "the host is in maintenance");
    acquits::<BrakesHold>(&fence(story.clone(), "b", 6));
    acquits::<BrakesHold>(&fence(story.entry(4, vec![Event::MaintenanceEnded { host: host("a") }]), "a", 6));
}

#[test]
fn more_fences_in_flight_than_allowed_are_a_breach() {
    let two = fence(fence(before(), "a", 5), "b", 7);
    convicts::<BrakesHold>(&fence(two.clone(), "c", 9), "2 of 2 allowed fences are in flight: #5, #7");
    let asked = two.clone().entry(8, vec![needs_human("b", 7)]);
    acquits::<BrakesHold>(&fence(asked.clone(), "c", 10));
    let enrolled = asked.entry(9, vec![Event::HostEnrolled { host: host("b"), levels: vec![vec![]] }]);
    convicts::<BrakesHold>(&fence(enrolled, "c", 11), "2 of 2 allowed fences are in flight: #5, #7");
    acquits::<BrakesHold>(&fence(two.entry(8, vec![fenced("a", 5, off_proof())]), "c", 10));
}

#[test]
fn more_fences_in_the_window_than_allowed_are_a_breach() {
    let three = whole_fence(whole_fence(whole_fence(before(), "a", 5), "b", 8), "c", 11);
    convicts::<BrakesHold>(&fence(three.clone().at(89_000), "d", 15), "3 of 3 fences of the storm window");
    acquits::<BrakesHold>(&fence(three.clone().at(101_000), "d", 15));
    acquits::<BrakesHold>(&fence(three.entry(13, vec![armed()]), "d", 15));
}

#[test]
fn a_closed_storm_brake_opens_only_by_arming() {
    let story = before().entry(3, vec![Event::StormBrakeClosed { host: host("a") }]);
    convicts::<BrakesHold>(&fence(story.clone().at(900_000), "a", 6), "the storm brake is closed");
    acquits::<BrakesHold>(&fence(story.entry(4, vec![armed()]), "a", 6));
}

#[test]
fn a_fence_below_the_minimum_healthy_share_is_a_breach() {
    let losses = |names: &[&str]| before().entry(3, names.iter().map(|name| lost(name)).collect());
    let five = losses(&["a", "b", "c", "d", "e"]);
    let why = "only 3 of 8 hosts are healthy and the segment keeps 50 %";
    convicts::<BrakesHold>(&five.clone().entry(4, vec![decided("a", 4)]), why);
    let four = losses(&["a", "b", "c", "d"]);
    convicts::<BrakesHold>(&four.clone().entry(4, vec![in_maintenance("e")]).entry(5, vec![decided("a", 5)]), why);
    acquits::<BrakesHold>(&four.entry(4, vec![decided("a", 4)]));
    let regained = five.entry(4, vec![Event::HostRegained { host: host("b") }]);
    acquits::<BrakesHold>(&regained.entry(5, vec![decided("a", 5)]));
}

#[test]
fn a_host_that_rebooted_by_itself_is_held_by_nothing_but_disarm() {
    let reboot = |story: Story, index: u64| {
        story
            .entry(index, vec![rebooted("a", 2)])
            .entry(index + 1, vec![decided("a", index + 1)])
            .entry(index + 2, vec![fenced("a", index + 1, new_boot(2))])
    };
    let closed = before().entry(3, vec![Event::StormBrakeClosed { host: host("a") }, in_maintenance("a")]);
    acquits::<BrakesHold>(&reboot(closed.clone(), 4));
    convicts::<BrakesHold>(&reboot(closed.entry(4, vec![disarmed()]), 5), "the cluster is disarmed");
    let uncounted = whole_fence(whole_fence(before(), "b", 5), "c", 8);
    acquits::<BrakesHold>(&fence(reboot(uncounted, 10), "d", 15));
    let booted_later = Event::HostBooted { host: host("a"), boot: boot(2) };
    let story = before().entry(3, vec![lost("a")]).entry(4, vec![in_maintenance("a"), booted_later]);
    acquits::<BrakesHold>(&story.entry(5, vec![decided("a", 5)]));
}

#[test]
fn a_reboot_that_is_no_proof_is_held_like_any_other_loss() {
    let settings = Settings { proofs: BTreeSet::from([ProofClass::PowerOffVerified]), ..Settings::default() };
    let story = Story::opened(settings, Segment::default())
        .entry(1, vec![admitted("a", 1), admitted("b", 1), armed(), in_maintenance("a")])
        .entry(2, vec![rebooted("a", 2)]);
    convicts::<BrakesHold>(&story.entry(3, vec![decided("a", 3)]), "the host is in maintenance");
}

#[test]
fn a_person_passes_every_brake_and_is_not_counted() {
    let confirm = |story: Story, name: &str, index: u64| {
        story.entry(index, vec![decided(name, index), fenced(name, index, word_of_a_person())])
    };
    let two = whole_fence(whole_fence(before(), "a", 5), "b", 8);
    acquits::<BrakesHold>(&confirm(two.clone().entry(10, vec![disarmed(), in_maintenance("c")]), "c", 11));
    acquits::<BrakesHold>(&fence(confirm(two, "c", 10), "d", 13));
}

/// Other settings than those of [`before`] come into force.
fn set(story: Story, index: u64, in_flight: u32, in_window: u32, window: u64) -> Story {
    let settings = Settings {
        fences_in_flight_max: in_flight,
        storm_fences_max: in_window,
        storm_window: Millis(window),
        ..Settings::default()
    };
    story.entry(index, vec![Event::SettingsChanged { settings: Some(Box::new(settings)) }])
}

#[test]
fn the_limits_are_those_in_force() {
    let one = fence(before(), "a", 5);
    convicts::<BrakesHold>(
        &fence(set(one.clone(), 6, 1, 3, 100_000), "b", 8),
        "1 of 1 allowed fences are in flight: #5",
    );
    acquits::<BrakesHold>(&fence(fence(set(one, 6, 3, 3, 100_000), "b", 8), "c", 10));

    let two = whole_fence(whole_fence(before(), "a", 5), "b", 8);
    convicts::<BrakesHold>(&fence(set(two.clone(), 10, 2, 2, 100_000), "c", 13), "2 of 2 fences of the storm window");
    let three = whole_fence(two.clone(), "c", 11);
    acquits::<BrakesHold>(&fence(set(three.clone(), 13, 2, 4, 100_000), "d", 15));
    convicts::<BrakesHold>(&fence(set(three.clone(), 13, 2, 3, 100_000), "d", 15), "3 of 3 fences of the storm window");
}

#[test]
fn a_window_that_was_shorter_for_a_while_forgets_no_fence() {
    let two = whole_fence(whole_fence(before(), "a", 5), "b", 8).at(50_000);
    let shorter = set(two, 10, 2, 2, 30_000);
    acquits::<BrakesHold>(&fence(shorter.clone(), "c", 13));
    let third = whole_fence(shorter, "c", 13);
    convicts::<BrakesHold>(&fence(set(third, 15, 2, 3, 100_000), "d", 17), "3 of 3 fences of the storm window");
}

#[test]
fn reboots_that_prove_nothing_are_counted() {
    let settings = Settings { storm_fences_max: 1, proofs: BTreeSet::from([ProofClass::Human]), ..Settings::default() };
    let hosts = HOSTS.iter().map(|name| admitted(name, 1)).collect();
    let story = Story::opened(settings, Segment::default()).entry(1, hosts).entry(2, vec![armed()]);
    let one = story.entry(3, vec![rebooted("a", 2)]).entry(4, vec![decided("a", 4), fenced("a", 4, off_proof())]);
    convicts::<BrakesHold>(&fence(one, "b", 6), "1 of 1 fences of the storm window");
}

#[test]
fn a_fence_whose_levels_were_taken_away_waits_for_a_person() {
    let without = |host_name: &str| Event::HostEnrolled { host: host(host_name), levels: Vec::new() };
    let two = fence(fence(before(), "a", 5), "b", 7).entry(8, vec![needs_human("b", 7)]).entry(9, vec![without("b")]);
    acquits::<BrakesHold>(&fence(two, "c", 11));
}
