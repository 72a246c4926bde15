//! Controllers that come and go.

use super::lab::{Lab, failed, free_address};

fn roles(lab: &Lab) -> Vec<String> {
    let members = lab.items(&["member", "list"]);
    let rows = members.as_array().expect("a list").iter();
    rows.map(|row| format!("{} {}", row["name"].as_str().expect("a name"), row["role"].as_str().expect("a role")))
        .collect()
}

fn join(lab: &mut Lab, known: &str, number: &str) -> u32 {
    let token = lab.must(&["token", "create", "--role", "controller"]);
    let (address, place) = (free_address(), format!("c{number}"));
    let listen = ["--listen", &address, "--advertise", &address, "--data-dir", &place, "--profile", "fast"];
    lab.must(&[&["controller", "join", "--token", token.trim(), "--controller", known][..], &listen].concat());
    let process = lab.start_controller(&place);
    lab.must(&["member", "add", number, "--promote", "--wait"]);
    process
}

#[test]
fn a_controller_leaves_in_two_steps_and_a_leader_hands_over_first() {
    let (mut lab, known) = Lab::with_one_controller();
    let alone = "error: controller-1 is the only voter; add another one first\n";
    assert_eq!(lab.run(&["member", "demote", "1", "--yes"]), failed(4, alone));
    join(&mut lab, &known, "2");
    join(&mut lab, &known, "3");
    let unconfirmed = "error: this needs a person to confirm it, and there is no terminal; nothing was done. controller-1 \
                       loses its vote, and the cluster bears fewer failures. Give --yes if a script has made sure of \
                       it.\n";
    assert_eq!(lab.run(&["member", "demote", "1"]), failed(2, unconfirmed));
    let votes = "error: controller-1 votes; demote it first\n";
    assert_eq!(lab.run(&["member", "remove", "1", "--yes"]), failed(4, votes));
    assert_eq!(roles(&lab), ["controller-1 voter", "controller-2 voter", "controller-3 voter"]);

    for again in ["first", "again"] {
        let told = lab.must(&["member", "demote", "controller-1", "--yes"]);
        assert!(told.starts_with("controller-1 follows the log as a learner (log #"), "{again}: {told}");
    }
    assert_eq!(roles(&lab), ["controller-1 learner", "controller-2 voter", "controller-3 voter"]);
    for again in ["first", "again"] {
        let told = lab.must(&["member", "remove", "1", "--yes"]);
        assert!(told.starts_with("controller-1 is out of the cluster (log #"), "{again}: {told}");
    }
    assert_eq!(roles(&lab), ["controller-1 outside", "controller-2 voter", "controller-3 voter"]);
    assert_eq!(
        lab.run(&["member", "demote", "9", "--yes"]),
        failed(3, "error: controller-9 is not a member; it must join before it can vote\n")
    );
}

#[test]
fn a_dead_controller_is_taken_out() {
    let (mut lab, known) = Lab::with_one_controller();
    join(&mut lab, &known, "2");
    let third = join(&mut lab, &known, "3");
    lab.kill(third);
    lab.must(&["member", "demote", "3", "--yes"]);
    lab.must(&["member", "remove", "3", "--yes"]);
    assert_eq!(roles(&lab), ["controller-1 voter", "controller-2 voter", "controller-3 outside"]);
}
