use super::*;
use crate::invariants::sample::{
    Story, acquits, admitted, booted, convicts, decided, fenced, host, instance, new_boot, off_proof, planned,
    rebooted, refused, registered, runs, word_of_a_person,
};
use crate::observation::Cause;

/// Host a runs instance 1 in its first boot; b and c are up in theirs.
fn before() -> Story {
    Story::new().entry(1, vec![admitted("a", 9), admitted("b", 1), admitted("c", 1)]).entry(2, vec![registered(1, "a")])
}

/// Host a is proven off at 11.
fn fenced_a() -> Story {
    before().entry(10, vec![decided("a", 10)]).power_off("a", Cause::Bmc).entry(11, vec![fenced("a", 10, off_proof())])
}

#[test]
fn off_must_have_been_true_after_the_decision() {
    let proof = || vec![fenced("a", 10, off_proof())];
    let decided_at_10 = |story: Story| story.entry(10, vec![decided("a", 10)]);
    let earlier = before().power_off("a", Cause::Outside).power_on("a", 2);
    convicts::<FenceFirst>(&decided_at_10(before()).entry(11, proof()), "has had power ever since its fence");
    convicts::<FenceFirst>(&decided_at_10(earlier).entry(11, proof()), "has had power ever since its fence");
    let other = decided_at_10(before()).power_off("b", Cause::Outside);
    convicts::<FenceFirst>(&other.entry(11, proof()), "has had power ever since its fence");

    acquits::<FenceFirst>(&fenced_a());
    acquits::<FenceFirst>(&decided_at_10(before().power_off("a", Cause::Outside)).entry(11, proof()));
    let back = decided_at_10(before()).power_off("a", Cause::Bmc).power_on("a", 2);
    acquits::<FenceFirst>(&back.entry(11, proof()));
}

#[test]
fn a_proof_needs_its_own_open_decision() {
    let story = before().power_off("a", Cause::Outside);
    let why = "#10 is no open decision about it";
    convicts::<FenceFirst>(&story.clone().entry(11, vec![fenced("a", 10, off_proof())]), why);
    let of_b = story.entry(10, vec![decided("b", 10)]);
    convicts::<FenceFirst>(&of_b.entry(11, vec![fenced("a", 10, off_proof())]), why);
    convicts::<FenceFirst>(&fenced_a().entry(12, vec![fenced("a", 10, off_proof())]), why);
}

#[test]
fn a_new_boot_must_have_followed_the_admitted_one() {
    let claim = |story: Story, number| {
        story.entry(10, vec![decided("a", 10)]).entry(11, vec![fenced("a", 10, new_boot(number))])
    };
    let why = "has not lost its power and come up in that boot";
    convicts::<FenceFirst>(&claim(before(), 2), why);
    convicts::<FenceFirst>(&claim(before().power_on("a", 2), 2), why);
    convicts::<FenceFirst>(&claim(before().power_off("a", Cause::Outside), 2), why);
    let twice = before().power_off("a", Cause::Outside).power_on("a", 2).power_off("a", Cause::Outside);
    let readmitted = twice.clone().power_on("a", 3).entry(9, vec![admitted("a", 3)]);
    convicts::<FenceFirst>(&claim(readmitted.clone(), 2), why);
    convicts::<FenceFirst>(&claim(readmitted, 3), why);

    acquits::<FenceFirst>(&claim(twice.clone(), 2));
    acquits::<FenceFirst>(&claim(twice.power_on("a", 3), 3));
}

#[test]
fn a_person_who_confirms_a_running_boot_is_wrong() {
    let confirm = |story: Story| story.entry(10, vec![decided("a", 10), fenced("a", 10, word_of_a_person())]);
    let off = before().power_off("a", Cause::Outside);
    convicts::<FenceFirst>(&confirm(before()), "given up for dead still has its power");
    let again = off.clone().power_on("a", 2);
    convicts::<FenceFirst>(&confirm(again.clone().entry(3, vec![admitted("a", 2)])), "still has its power");
    acquits::<FenceFirst>(&confirm(off));
    acquits::<FenceFirst>(&confirm(again));
}

#[test]
fn a_person_who_confirms_a_boot_that_came_back_from_a_fence_is_wrong() {
    let confirm = |story: Story| story.entry(20, vec![decided("a", 20), fenced("a", 20, word_of_a_person())]);
    let back = fenced_a().power_on("a", 2).entry(12, vec![booted("a", 2)]);
    convicts::<FenceFirst>(&confirm(back.clone()), "has come back since the last fence, and was given up for dead");
    acquits::<FenceFirst>(&confirm(back.clone().power_off("a", Cause::Outside)));
    acquits::<FenceFirst>(&confirm(back.power_off("a", Cause::Outside).power_on("a", 3)));
    acquits::<FenceFirst>(&confirm(fenced_a().power_on("a", 2)));
    let in_a_fence = before().entry(10, vec![decided("a", 10)]).power_off("a", Cause::Outside).power_on("a", 2);
    let word = in_a_fence.entry(12, vec![booted("a", 2)]).entry(13, vec![fenced("a", 10, word_of_a_person())]);
    acquits::<FenceFirst>(&word);
}

#[test]
fn a_plan_rests_on_a_home_that_is_proven_dead() {
    let why = "its home a was not proven dead since #2";
    convicts::<FenceFirst>(&before().entry(12, vec![planned(1, "a", "b", 12)]), why);
    let undecided = before().entry(10, vec![decided("a", 10)]).power_off("a", Cause::Bmc);
    convicts::<FenceFirst>(&undecided.entry(12, vec![planned(1, "a", "b", 12)]), why);
    let false_reboot = before().entry(11, vec![rebooted("a", 2)]);
    convicts::<FenceFirst>(&false_reboot.entry(12, vec![planned(1, "a", "b", 12)]), why);

    acquits::<FenceFirst>(&fenced_a().entry(12, vec![planned(1, "a", "b", 12)]));
    let reboot = before().power_off("a", Cause::Outside).power_on("a", 2).entry(11, vec![rebooted("a", 2)]);
    acquits::<FenceFirst>(&reboot.entry(12, vec![planned(1, "a", "b", 12)]));
}

#[test]
fn an_old_proof_does_not_count_for_a_home_that_was_given_the_instance_since() {
    let moved = Event::InstanceMoved { instance: instance(1), from: host("c"), to: host("a") };
    for given in [registered(1, "a"), runs(1, "a", 7), moved] {
        let story = fenced_a().entry(12, vec![admitted("a", 2)]).entry(13, vec![given]);
        convicts::<FenceFirst>(&story.entry(14, vec![planned(1, "a", "b", 14)]), "not proven dead since #13");
    }
}

#[test]
fn the_target_of_an_open_order_may_have_a_copy_too() {
    let ordered = fenced_a().entry(12, vec![planned(1, "a", "b", 12)]);
    let next = |story: Story| story.entry(20, vec![planned(1, "a", "c", 20)]);
    convicts::<FenceFirst>(&next(ordered.clone()), "its order to b under token #12 has neither ended nor been fenced");
    let older_refusal = ordered.clone().entry(13, vec![refused(1, "b", 11)]);
    convicts::<FenceFirst>(&next(older_refusal), "its order to b under token #12");

    acquits::<FenceFirst>(&next(ordered.clone().entry(13, vec![refused(1, "b", 12)])));
    let cut = ordered.entry(13, vec![decided("b", 13)]).power_off("b", Cause::Bmc);
    acquits::<FenceFirst>(&next(cut.entry(14, vec![fenced("b", 13, off_proof())])));
}

#[test]
fn an_order_ends_when_what_it_started_was_moved() {
    let moved = || Event::InstanceMoved { instance: instance(1), from: host("a"), to: host("c") };
    let ordered = fenced_a().entry(12, vec![planned(1, "a", "b", 12)]);
    let dies = |story: Story| {
        let story = story.entry(14, vec![decided("c", 14)]).power_off("c", Cause::Bmc);
        story.entry(15, vec![fenced("c", 14, off_proof())]).entry(16, vec![planned(1, "c", "d", 16)])
    };
    let started = ordered.clone().started(1, "b", Some(12)).ended(1, "b").started(1, "c", None);
    acquits::<FenceFirst>(&dies(started.entry(13, vec![moved()])));
    let never = ordered.started(1, "c", None).entry(13, vec![moved()]);
    convicts::<FenceFirst>(&dies(never), "its order to b under token #12 has neither ended nor been fenced");
}

#[test]
fn a_home_may_be_given_the_instance_as_it_is_proven_dead_and_be_admitted_before_the_plan() {
    let moved = || Event::InstanceMoved { instance: instance(1), from: host("b"), to: host("a") };
    let on_b = before().entry(3, vec![registered(1, "b")]).started(1, "a", None);
    let dead = on_b.entry(10, vec![decided("a", 10)]).power_off("a", Cause::Bmc);
    let plan = |story: Story| story.entry(13, vec![admitted("a", 2)]).entry(14, vec![planned(1, "a", "c", 14)]);
    acquits::<FenceFirst>(&plan(dead.clone().entry(11, vec![moved(), fenced("a", 10, off_proof())])));
    let proven = dead.entry(11, vec![fenced("a", 10, off_proof())]);
    acquits::<FenceFirst>(&plan(proven.clone().entry(12, vec![moved()])));
    let runs_on = proven.started(1, "b", None);
    convicts::<FenceFirst>(&plan(runs_on.entry(12, vec![moved()])), "its home a was not proven dead since #12");
}

#[test]
fn what_is_given_to_a_host_has_been_there() {
    let moved = |to: &str| Event::InstanceMoved { instance: instance(1), from: host("a"), to: host(to) };
    convicts::<FenceFirst>(&before().entry(3, vec![moved("b")]), "is given to b at #3, and has not been there");
    let elsewhere = before().ended(1, "a").started(1, "c", None);
    convicts::<FenceFirst>(&elsewhere.entry(3, vec![moved("b")]), "has not been there");
    let there = before().ended(1, "a").started(1, "b", None);
    acquits::<FenceFirst>(&there.clone().entry(3, vec![moved("b")]));
    acquits::<FenceFirst>(&there.clone().power_off("b", Cause::Outside).entry(3, vec![moved("b")]));
    let back = there.ended(1, "b").started(1, "a", None).entry(3, vec![registered(1, "a")]);
    convicts::<FenceFirst>(&back.entry(4, vec![moved("b")]), "has not been there");
}

#[test]
fn what_died_on_a_host_where_nobody_saw_it_may_be_given_to_another_one_that_died() {
    let moved = || Event::InstanceMoved { instance: instance(1), from: host("a"), to: host("b") };
    let fence = |story: Story, name: &str, token: u64| {
        let story = story.entry(token, vec![decided(name, token)]).power_off(name, Cause::Bmc);
        story.entry(token + 1, vec![fenced(name, token, off_proof())])
    };
    let unseen = || before().entry(3, vec![admitted("a", 1)]).ended(1, "a").started(1, "c", None);
    let plan = |story: Story| story.entry(30, vec![moved()]).entry(31, vec![planned(1, "b", "a", 31)]);
    acquits::<FenceFirst>(&plan(fence(fence(unseen(), "b", 10), "c", 20)));
    // The proof of the one where it died brings the gift.
    let last = fence(unseen(), "b", 10).entry(20, vec![decided("c", 20)]).power_off("c", Cause::Bmc);
    let last = last.entry(30, vec![moved(), fenced("c", 20, off_proof())]);
    acquits::<FenceFirst>(&last.entry(31, vec![planned(1, "b", "a", 31)]));
    let is_back = |story: Story| plan(story.power_on("b", 2).entry(25, vec![admitted("b", 2)]));
    acquits::<FenceFirst>(&is_back(fence(fence(unseen(), "b", 10), "c", 20)));
    convicts::<FenceFirst>(&is_back(fence(unseen(), "b", 10)), "has not been there");
    let never_proven = fence(unseen(), "b", 10).power_off("c", Cause::Outside);
    convicts::<FenceFirst>(&plan(never_proven), "has not been there");
    convicts::<FenceFirst>(&plan(fence(unseen(), "b", 10)), "has not been there");
    convicts::<FenceFirst>(&plan(fence(unseen(), "c", 20)), "has not been there");
}

#[test]
fn a_start_obeys_its_plan() {
    let ordered = fenced_a().entry(12, vec![planned(1, "a", "b", 12)]);
    convicts::<FenceFirst>(&before().started(1, "b", Some(12)), "which no committed recovery ordered");
    convicts::<FenceFirst>(&ordered.clone().started(1, "b", Some(11)), "which no committed recovery ordered");
    convicts::<FenceFirst>(&ordered.clone().started(2, "b", Some(12)), "which no committed recovery ordered");
    convicts::<FenceFirst>(&ordered.clone().started(1, "c", Some(12)), "which ordered it to b");
    let rebooted = ordered.clone().power_off("b", Cause::Outside).power_on("b", 2);
    convicts::<FenceFirst>(&rebooted.started(1, "b", Some(12)), "which ordered it to boot 01010101");
    acquits::<FenceFirst>(&ordered.clone().started(1, "b", Some(12)));
    acquits::<FenceFirst>(&ordered.started(2, "c", None));
}

#[test]
fn a_target_is_admitted_in_that_boot_and_neither_dead_nor_being_fenced() {
    let to = |story: Story, target: &str| story.entry(20, vec![planned(1, "a", target, 20)]);
    convicts::<FenceFirst>(&to(fenced_a(), "a"), "and a itself is proven dead");
    let fencing = fenced_a().entry(12, vec![decided("b", 12)]);
    convicts::<FenceFirst>(&to(fencing.clone(), "b"), "and b itself is being fenced under token #12");
    let later = fenced_a().entry(12, vec![admitted("c", 2)]);
    convicts::<FenceFirst>(&to(later, "c"), "of c, which is admitted in boot 02020202");
    acquits::<FenceFirst>(&to(fencing, "c"));
    acquits::<FenceFirst>(&to(fenced_a().entry(12, vec![admitted("a", 1)]), "a"));
}
