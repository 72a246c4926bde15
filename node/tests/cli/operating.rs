//! What operators do every day.

use serde_json::json;

use super::lab::{Lab, failed};

#[test]
fn a_cluster_begins_disarmed_and_every_change_has_a_reason_and_a_name() {
    let (lab, _) = Lab::with_one_controller();
    let status = &lab.items(&["status"])[0];
    assert_eq!((&status["cluster"], &status["armed"], &status["leader"]), (&json!("lab"), &json!(false), &json!(1)));

    let ran = lab.run(&["arm"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.starts_with("error: the following required arguments were not provided:\n  --reason <REASON>\n"));
    let blank = "error: this needs a reason of 1 to 1024 bytes; it stands in the history\n";
    assert_eq!(lab.run(&["arm", "--reason", " "]), failed(2, blank));

    lab.must(&["arm", "--reason", "drill"]);
    lab.must(&["disarm", "--reason", "drill is over"]);
    let events = lab.items(&["event", "list"]);
    let told: Vec<(&str, &str)> = events
        .as_array()
        .expect("a list")
        .iter()
        .map(|event| (event["by"].as_str().expect("a name"), event["message"].as_str().expect("words")))
        .collect();
    assert_eq!(
        told,
        [
            ("controller-1", "cluster lab created"),
            ("controller-1", "controller-1 joined"),
            ("operator admin", "armed: drill"),
            ("operator admin", "disarmed: drill is over"),
        ]
    );
}

#[test]
fn segments_are_printed_as_a_table_and_as_a_document() {
    let (lab, _) = Lab::with_one_controller();
    assert_eq!(lab.must(&["segment", "list"]), "No segment exists; 'quorumfence segment create NAME' makes one.\n");
    let created = lab.must(&["segment", "create", "rack-1", "--failure-threshold", "5", "--check-interval", "500ms"]);
    assert!(created.starts_with("segment rack-1 created (log #"), "{created}");
    assert_eq!(
        lab.must(&["segment", "list"]),
        "SEGMENT  THRESHOLD  INTERVAL  EVACUATION  METHOD  KEEPS HEALTHY\n\
         rack-1   5          0.500 s   on          auto    50 %\n"
    );
    assert_eq!(
        lab.must(&["segment", "list", "-o", "json"]),
        r#"{
  "apiVersion": "quorumfence.dev/v1",
  "kind": "Segment",
  "items": [
    {
      "name": "rack-1",
      "failureThreshold": 5,
      "checkIntervalMs": 500,
      "evacuationEnabled": true,
      "method": "auto",
      "minimumHealthyPercent": 50
    }
  ]
}
"#
    );
    assert_eq!(lab.run(&["segment", "create", "rack-1"]), failed(7, "error: segment rack-1 exists already\n"));
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let (lab, _) = Lab::with_one_controller();
    assert_eq!(lab.items(&["settings", "show"])[0]["profile"], "fast");
    let expected = "error: suspect_after is not above heartbeat_interval: every host would be suspected all the time. \
                    'quorumfence status -o json' shows the settings in force.\n";
    assert_eq!(lab.run(&["settings", "set", "--suspect-after", "100ms"]), failed(2, expected));
    assert_eq!(lab.items(&["settings", "show"])[0]["profile"], "fast");
    lab.must(&["settings", "set", "--storm-fences-max", "9"]);
    let settings = &lab.items(&["settings", "show"])[0];
    assert_eq!((&settings["profile"], &settings["stormFencesMax"]), (&json!("custom"), &json!(9)));
    lab.must(&["settings", "set", "--profile", "default"]);
    assert_eq!(lab.items(&["settings", "show"])[0]["profile"], "default");
}

#[test]
fn what_is_not_there_is_not_found() {
    let (lab, _) = Lab::with_one_controller();
    let no_host = failed(3, "error: host nosuch is not known; 'quorumfence host list' shows the known ones\n");
    for command in [
        &["host", "show", "nosuch"][..],
        &["explain", "host", "nosuch"],
        &["fence", "status", "nosuch"],
        &["fence", "test", "nosuch"],
        &["host", "maintenance", "on", "nosuch", "--reason", "x"],
        &["host", "confirm-dead", "nosuch", "--reason", "x", "--yes"],
    ] {
        assert_eq!(lab.run(command), no_host, "{command:?}");
    }
    let instance = "6b8b4567-327b-43c6-8643-3c9869b39f2d";
    let expected =
        format!("error: instance {instance} is not known; 'quorumfence instance list' shows the known ones\n");
    assert_eq!(lab.run(&["instance", "show", instance]), failed(3, &expected));
}

#[test]
fn a_death_is_confirmed_by_a_person() {
    let lab = Lab::empty();
    let expected = "error: this needs a person to confirm it, and there is no terminal; nothing was done. Its instances will \
                    start on other hosts. If host host1 still runs, they run twice and their disks are destroyed. Give --yes \
                    if a script has made sure of it.\n";
    assert_eq!(lab.run(&["host", "confirm-dead", "host1", "--reason", "x"]), failed(2, expected));
}

#[test]
fn a_cluster_that_nobody_serves_is_unreachable() {
    let lab = Lab::empty();
    let address = lab.found();
    let expected = format!(
        "error: no controller of cluster lab can be reached, so nothing was done; check that one runs and that this \
         machine can reach it\n  because: controller-1 at {address}: it cannot be reached (Connection refused (os error \
         111))\n"
    );
    assert_eq!(lab.run(&["status"]), failed(6, &expected));
    assert_eq!(lab.run(&["arm", "--reason", "x"]), failed(6, &expected));
}

#[test]
fn a_minority_changes_nothing_and_says_so() {
    let (mut lab, known) = Lab::with_one_controller();
    let token = lab.must(&["token", "create", "--role", "controller"]);
    let address = super::lab::free_address();
    lab.must(&[
        "controller",
        "join",
        "--token",
        token.trim(),
        "--controller",
        &known,
        "--listen",
        &address,
        "--advertise",
        &address,
        "--data-dir",
        "c2",
        "--profile",
        "fast",
    ]);
    let second = lab.start_controller("c2");
    lab.must(&["member", "add", "2", "--promote", "--wait"]);
    lab.kill(second);
    let ran = lab.run(&["status", "--timeout", "2s"]);
    assert_eq!((ran.code, ran.out.as_str()), (5, ""), "{ran:?}");
    let beginning = "error: cluster lab has no leader that a quorum confirms, so nothing was done; a majority of its \
                     controllers must run and reach each other. 'quorumfence status --local' shows what one of them has\n";
    assert!(ran.err.starts_with(beginning), "{ran:?}");
    assert_eq!(lab.items(&["status", "--local"])[0]["cluster"], "lab");
    assert_eq!(lab.run(&["segment", "create", "rack-1", "--timeout", "2s"]).code, 5);
}

#[test]
fn an_operator_without_a_context_is_told_where_one_comes_from() {
    let lab = Lab::empty();
    let context = lab.path("operator.toml").display().to_string();
    let expected = format!(
        "error: the operator context cannot be used; get one with 'quorumfence cluster init', or name it in \
         QUORUMFENCE_CONTEXT\n  because: cannot open {context}\n  because: No such file or directory (os error 2)\n"
    );
    assert_eq!(lab.run(&["status"]), failed(1, &expected));
}
