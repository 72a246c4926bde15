//! Founding a cluster, and controllers that start or do not.

use super::lab::{Lab, failed, free_address, write};

#[test]
fn a_founded_cluster_prints_what_to_do_next() {
    let lab = Lab::empty();
    let out = lab.must(&[
        "cluster",
        "init",
        "--name",
        "lab",
        "--data-dir",
        "c1",
        "--listen",
        "127.0.0.1:7420",
        "--advertise",
        "127.0.0.1:7420",
    ]);
    let context = lab.path("operator.toml").display().to_string();
    let (first, rest) = out.split_once("\n  ").expect("the fingerprint stands on a line of its own");
    let (fingerprint, rest) = rest.split_once('\n').expect("more lines follow");
    assert_eq!(first, "Cluster lab founded. This machine is controller-1; its authority's fingerprint is");
    assert_eq!(fingerprint.len(), 64);
    let expected = format!(
        "\n1. Start this controller:\n     quorumfence controller run --config c1/controller.toml\n\
         2. Let two more controllers in; each needs a token of its own:\n     \
         quorumfence token create --role controller --context {context}\n\
         3. See whether the cluster is well:\n     quorumfence status --context {context}\n\n\
         It is disarmed: it watches and fences nothing until 'quorumfence arm'.\n\
         The operator context holds a secret key; keep {context} to yourself.\n"
    );
    assert_eq!(rest, expected);
}

#[test]
fn a_cluster_is_not_founded_over_another() {
    let lab = Lab::empty();
    let address = lab.found();
    let init = ["cluster", "init", "--data-dir", "c1", "--listen", &address, "--advertise", &address];
    let context = lab.path("operator.toml").display().to_string();
    let expected = format!(
        "error: {context} exists already, so nothing was written; a cluster is founded once. Name another file, or move \
         this one away\n"
    );
    assert_eq!(lab.run(&init), failed(7, &expected));
    let elsewhere = [&init[..], &["--context", "other.toml", "--config", "other-controller.toml"]].concat();
    let expected = "error: c1 holds identity.toml already, so nothing was written; choose another directory, or move this \
                    one away if that member is gone for good\n";
    assert_eq!(lab.run(&elsewhere), failed(7, expected));
}

#[test]
fn an_address_that_nobody_can_reach_is_refused() {
    let lab = Lab::empty();
    let init = |listen, advertise| lab.run(&["cluster", "init", "--listen", listen, "--advertise", advertise]);
    assert_eq!(
        init("0.0.0.0:7420", "0.0.0.0:7420"),
        failed(2, "error: --advertise is 0.0.0.0:7420, which nobody can reach; give the address that others use\n")
    );
    assert_eq!(
        init("7420", "127.0.0.1:7420"),
        failed(2, "error: --listen is '7420'; write host:port with a port from 1 to 65535, such as 192.0.2.1:7420\n")
    );
}

#[test]
fn a_misspelt_key_of_the_configuration_is_refused_with_its_line() {
    let lab = Lab::empty();
    write(&lab.path("c.toml"), "data_dir = \"d\"\nadvertize = \"127.0.0.1:1\"\n");
    let expected = "error: c.toml:2: unknown key 'advertize', did you mean 'advertise'?; the known keys are data_dir, \
                    listen, advertise, raft_profile, snapshot_after, log_kept, laboratory, laboratory_socket\n";
    assert_eq!(lab.run(&["controller", "run", "--config", "c.toml"]), failed(2, expected));
}

#[test]
fn a_witness_is_refused_outside_of_a_laboratory_and_due_inside() {
    let mut lab = Lab::empty();
    lab.found();
    let written = std::fs::read_to_string(lab.path("c1/controller.toml")).expect("it was written");
    assert!(written.contains("laboratory = false\n"), "{written}");
    let with_witness = format!("{written}laboratory_socket = \"witness\"\n");
    write(&lab.path("c.toml"), &with_witness);
    let expected = "error: c.toml: laboratory_socket is set, and this is no laboratory; take it out, or add 'laboratory = \
                    true' where nothing real is fenced\n";
    assert_eq!(lab.run(&["controller", "run", "--config", "c.toml"]), failed(2, expected));
    write(&lab.path("c.toml"), &with_witness.replace("laboratory = false", "laboratory = true"));
    let expected = "error: no laboratory listens at witness, and this controller may not run unseen; start the laboratory \
                    first\n  because: No such file or directory (os error 2)\n";
    assert_eq!(lab.run(&["controller", "run", "--config", "c.toml"]), failed(1, expected));
    let _socket = std::os::unix::net::UnixListener::bind(lab.path("witness")).expect("a socket");
    lab.start(&["controller", "run", "--config", "c.toml"], "c1");
    lab.eventually(&["status"], |ran| ran.code == 0);
}

#[test]
fn a_controller_without_a_directory_does_not_start() {
    let lab = Lab::empty();
    let address = free_address();
    write(&lab.path("c.toml"), &format!("data_dir = \"d\"\nlisten = \"{address}\"\nadvertise = \"{address}\"\n"));
    let expected =
        "error: d holds no identity.toml, so no member lives there; run 'quorumfence cluster init' or join one\n";
    assert_eq!(lab.run(&["controller", "run", "--config", "c.toml"]), failed(1, expected));
}

#[test]
fn a_controller_whose_port_is_taken_does_not_start() {
    let (lab, address) = Lab::with_one_controller();
    let expected = format!(
        "error: cannot listen on {address}; another process may use it, or the address is not this machine's\n  because: \
         Address already in use (os error 98)\n"
    );
    assert_eq!(lab.run(&["controller", "run", "--config", "c1/controller.toml"]), failed(1, &expected));
}

#[test]
fn a_killed_controller_comes_back_with_what_it_acknowledged() {
    let mut lab = Lab::empty();
    lab.found();
    let process = lab.start_controller("c1");
    lab.eventually(&["status"], |ran| ran.code == 0);
    lab.must(&["segment", "create", "rack-1"]);
    lab.kill(process);
    let process = lab.start_controller("c1");
    let listed = lab.eventually(&["segment", "list"], |ran| ran.code == 0);
    assert!(listed.out.contains("rack-1"), "{listed:?}");
    assert_eq!(lab.stop(process), Some(0));
}

#[test]
fn a_controller_whose_database_vanished_does_not_start() {
    let mut lab = Lab::empty();
    lab.found();
    let process = lab.start_controller("c1");
    lab.eventually(&["status"], |ran| ran.code == 0);
    assert_eq!(lab.stop(process), Some(0));
    std::fs::remove_dir_all(lab.path("c1/store")).expect("it is there");
    let ran = lab.run(&["controller", "run", "--config", "c1/controller.toml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let beginning =
        "error: this controller's replica cannot be opened; another process may use it, or it needs a repair\n";
    assert!(ran.err.starts_with(beginning), "{ran:?}");
}
