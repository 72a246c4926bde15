//! README.md as a reader takes it: every command that it shows is run, in its order, by the real binary.

#[path = "cli/bmc.rs"]
mod bmc;
#[path = "cli/lab.rs"]
#[expect(dead_code, reason = "the command line's own tests need more of it")]
mod lab;
#[path = "readme/page.rs"]
mod page;
#[path = "readme/rehearsal.rs"]
mod rehearsal;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use page::README;
use quorumfence_drivers::hypervisor::definition::{self, Tag};
use rehearsal::Rehearsal;

/// README is read in one go.
const LINES_MAX: usize = 250;

#[test]
fn every_command_of_the_readme_succeeds_in_its_order() {
    let commands = page::commands(README, &verbs());
    assert_eq!(without_a_way(&commands), Vec::<&String>::new(), "add them to WAYS in node/tests/readme/rehearsal.rs");
    let mut rehearsal = Rehearsal::new();
    for command in &commands {
        rehearsal.run(command);
    }
    rehearsal.end();
}

#[test]
fn a_command_that_nobody_knows_how_to_run_is_found() {
    let page = "Run `quorumfence statuses` or `token revoke 1`, see `State::check` and `token`.\n\
                ```\n./deploy/undo.sh\nquorumfence 0.1.0 demo\nquorumfence status\nvirsh list\n```\n\
                Then `quorumfence arm --reason \"…\"`.\n";
    let commands = page::commands(page, &verbs());
    assert_eq!(
        commands,
        [
            "quorumfence statuses",
            "quorumfence token revoke 1",
            "./deploy/undo.sh",
            "quorumfence status",
            "quorumfence arm --reason \"…\"",
        ]
    );
    assert_eq!(without_a_way(&commands), ["quorumfence statuses", "quorumfence token revoke 1", "./deploy/undo.sh"]);
    assert_eq!(page::words(&commands[4]), ["quorumfence", "arm", "--reason", "…"]);
}

#[test]
fn scripts_that_the_readme_shows_can_be_executed() {
    let commands = page::commands(README, &verbs());
    let scripts: Vec<&str> = commands
        .iter()
        .filter(|command| command.starts_with("./"))
        .filter_map(|command| command.split_whitespace().next())
        .collect();
    assert_eq!(scripts, ["./deploy/demo.sh", "./deploy/test.sh"]);
    for script in scripts {
        let path = root().join(script);
        let mode = path.metadata().expect("it exists").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is executable");
        let status = Command::new("sh").arg("-n").arg(&path).status().expect("a shell");
        assert!(status.success(), "{script} is a shell script");
    }
    let demo = std::fs::read_to_string(root().join("deploy/demo.sh")).expect("it can be read");
    assert!(demo.ends_with("quorumfence\" demo \"$@\"\n"), "the demo's script ends as the demo");
}

#[test]
fn flags_of_the_demo_that_the_readme_shows_are_accepted() {
    let flags = page::demo_flags(README);
    assert!(flags.contains(&"--embedded"), "{flags:?}");
    let lab = lab::Lab::empty();
    let accepts = |flag: &str| {
        let words = page::words(flag);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        lab.run(&[&["demo"], &words[..], &["--help"]].concat()).code
    };
    for flag in flags {
        assert_eq!(accepts(flag), 0, "{flag}");
    }
    assert_eq!((accepts("--lesson meteor"), accepts("--meteor")), (2, 2));
}

#[test]
fn the_metadata_that_the_readme_shows_is_understood() {
    let snippets = page::blocks(README, "xml");
    assert_eq!(snippets.len(), 1, "{snippets:?}");
    let domain = format!(
        "<domain type=\"kvm\"><name>guest</name><uuid>6b8b4567-327b-43c6-8643-3c9869b39f2d</uuid>\
         <memory unit=\"MiB\">64</memory>{}</domain>",
        snippets[0]
    );
    let definition = definition::parse(&domain).expect("a definition");
    assert_eq!(definition.tag, Ok(Tag { enabled: true, priority: 900 }));
}

#[test]
fn the_readme_is_short_and_complete() {
    let lines = README.lines().count();
    assert!(lines < LINES_MAX, "{lines} lines");
    let placeholders: Vec<&str> = README.lines().filter(|line| line.contains("@@")).collect();
    assert_eq!(placeholders, Vec::<&str>::new());
}

fn without_a_way(commands: &[String]) -> Vec<&String> {
    commands.iter().filter(|command| rehearsal::how(command).is_none()).collect()
}

/// Returns the first words of the command line, from its own help.
fn verbs() -> Vec<String> {
    let help = lab::Lab::empty().must(&["--help"]);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<String> = listed.filter_map(|line| line.split_whitespace().next()).map(Into::into).collect();
    assert!(verbs.iter().any(|verb| verb == "token"), "{help}");
    verbs
}

/// Returns the repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").into()
}
