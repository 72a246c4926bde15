//! Runs README's commands in their order, with what is only an example there put in place: addresses, directories, a
//! token, a BMC. Controllers and agents are processes on loopback; the hypervisor is libvirt's test driver.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::bmc::Bmc;
use super::lab::{Lab, free_address, write};
use super::page::words;

/// The machine that the first host's BMC and its agent name.
const MACHINE: &str = "33221100-5544-7766-8899-aabbccddeeff";

/// The account of [`Bmc`].
const BMC_USER: &str = "admin";
const BMC_PASSWORD: &str = "s3cret";

/// What stands for "…".
const REASON: &str = "a rehearsal";

/// Tries, 100 ms apart, for words to appear in a file: a minute.
const TRIES_MAX: usize = 600;

/// How a command of README is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// To its end, as it stands.
    Ends,
    /// To its end; it makes a controller, whose directory and port are of this test.
    MakesController,
    /// To its end; it makes an agent, whose directory and hypervisor are of this test.
    MakesAgent,
    /// To its end; what it prints is `$TOKEN` from there on.
    PrintsToken,
    /// To its end, once the BMC was given time to start.
    Enrols,
    /// In the background until the end of the rehearsal; a controller.
    StaysController,
    /// In the background until the end of the rehearsal; an agent.
    StaysAgent,
    /// In the background; it must print what happened before and after it was started.
    Follows,
    /// Not here: the file, from the root of the repository, runs it. Its words must be accepted here all the same.
    Elsewhere(&'static str),
}

const WAYS: [(&str, How); 24] = [
    ("./deploy/demo.sh", How::Elsewhere("node/tests/demo_real.rs")),
    ("./deploy/test.sh", How::Elsewhere("deploy/test.sh")),
    ("quorumfence demo", How::Elsewhere("node/tests/demo_real.rs")),
    ("quorumfence host confirm-dead", How::Elsewhere("node/tests/demo/run.rs")),
    ("quorumfence cluster init", How::MakesController),
    ("quorumfence controller join", How::MakesController),
    ("quorumfence controller run", How::StaysController),
    ("quorumfence agent join", How::MakesAgent),
    ("quorumfence agent run", How::StaysAgent),
    ("quorumfence token create", How::PrintsToken),
    ("quorumfence member add", How::Ends),
    ("quorumfence member list", How::Ends),
    ("quorumfence segment create", How::Ends),
    ("quorumfence segment list", How::Ends),
    ("quorumfence host enrol", How::Enrols),
    ("quorumfence host list", How::Ends),
    ("quorumfence fence test", How::Ends),
    ("quorumfence arm", How::Ends),
    ("quorumfence disarm", How::Ends),
    ("quorumfence status", How::Ends),
    ("quorumfence explain host", How::Ends),
    ("quorumfence event list --follow", How::Follows),
    ("quorumfence settings show", How::Ends),
    ("quorumfence settings set", How::Ends),
];

/// Returns how a command is run, or nothing when nobody wrote down how.
pub(crate) fn how(command: &str) -> Option<How> {
    let is_of = |verb: &str| command.strip_prefix(verb).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
    WAYS.into_iter().find(|(verb, _)| is_of(verb)).map(|(_, how)| how)
}

/// A run of README's commands.
pub(crate) struct Rehearsal {
    lab: Lab,
    bmc: Option<Bmc>,
    /// README's addresses of controllers and what stands for them.
    addresses: BTreeMap<String, String>,
    /// The directory of the controller that was made last.
    controller_dir: String,
    /// The directory of the agent that was made last.
    agent_dir: String,
    token: String,
    /// What admitted the first host, to be repeated for another one.
    admission: Vec<String>,
    processes: Vec<u32>,
    follower: Option<Child>,
}

impl Rehearsal {
    /// Returns a rehearsal of which nothing has run.
    pub(crate) fn new() -> Self {
        Self {
            lab: Lab::empty(),
            bmc: None,
            addresses: BTreeMap::new(),
            controller_dir: String::new(),
            agent_dir: String::new(),
            token: String::new(),
            admission: Vec::new(),
            processes: Vec::new(),
            follower: None,
        }
    }

    /// Runs one command of README, which must succeed.
    pub(crate) fn run(&mut self, command: &str) {
        let how = how(command).unwrap_or_else(|| panic!("README's command '{command}' has no way to run in WAYS"));
        if words(command).iter().any(|word| word == "host2") {
            self.admit_second_host();
        }
        self.remember_admission(command, how);
        self.perform(command, how);
    }

    fn perform(&mut self, command: &str, how: How) {
        let arguments = self.arguments(command, how);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match how {
            How::Elsewhere(by) => self.accepts(&arguments, command, by),
            How::Ends | How::MakesController => {
                self.lab.must(&arguments);
            }
            How::MakesAgent => {
                self.lab.must(&arguments);
                self.name_machine();
            }
            How::PrintsToken => self.token = self.lab.must(&arguments).trim().into(),
            How::Enrols => {
                let ran = self.lab.eventually(&arguments, |ran| !ran.err.contains("did not answer"));
                assert_eq!(ran.code, 0, "{arguments:?} {ran:?}");
            }
            How::StaysController => {
                self.processes.push(self.lab.start(&arguments, &self.controller_dir));
                self.lab.eventually(&["status"], |ran| ran.code == 0);
            }
            How::StaysAgent => {
                self.processes.push(self.lab.start(&arguments, &self.agent_dir));
                let host = &self.agent_dir;
                let told = format!("\"systemUuid\": \"{MACHINE}\"");
                self.lab.eventually(&["-o", "json", "host", "show", host], |ran| ran.out.contains(&told));
            }
            How::Follows => self.follow(&arguments),
        }
    }

    /// Ends what stays; it must have stayed until then, and end well.
    pub(crate) fn end(mut self) {
        let follower = self.follower.as_mut().expect("README shows how to follow events");
        appears(&self.lab.path("events"), &format!("disarmed: {REASON}"));
        assert_eq!(follower.try_wait().expect("it can be asked"), None, "it follows until it is interrupted");
        assert_eq!(self.processes.len(), 4, "two controllers and the agents of two hosts");
        for id in std::mem::take(&mut self.processes).into_iter().rev() {
            assert_eq!(self.lab.stop(id), Some(0));
        }
    }

    /// Checks that the file which runs a command exists, and that the command's words are understood.
    fn accepts(&self, arguments: &[&str], command: &str, by: &str) {
        assert!(super::root().join(by).is_file(), "{by} should run '{command}'");
        match command.split_whitespace().next() {
            Some("./deploy/test.sh") => assert!(arguments.is_empty(), "test.sh takes no arguments"),
            Some("./deploy/demo.sh") => {
                self.lab.must(&[&["demo"], arguments, &["--help"]].concat());
            }
            _ => {
                self.lab.must(&[arguments, &["--help"]].concat());
            }
        }
    }

    /// README shows the commands of one hypervisor, to be given on each: here on a second one.
    fn admit_second_host(&mut self) {
        assert_eq!(self.admission.len(), 3, "a token, the join and the agent: {:?}", self.admission);
        for command in std::mem::take(&mut self.admission) {
            let how = how(&command).expect("it ran before");
            self.perform(&command.replace("host1", "host2"), how);
        }
    }

    fn remember_admission(&mut self, command: &str, how: How) {
        let is_agents_token = how == How::PrintsToken && command.ends_with("--role agent");
        if is_agents_token || matches!(how, How::MakesAgent | How::StaysAgent) {
            self.admission.push(command.into());
        }
    }

    /// The agent tells the machine that its BMC tells too; this one may have no SMBIOS to tell it.
    fn name_machine(&self) {
        write(&self.lab.path("uuid"), MACHINE);
        let path = self.lab.path(&self.agent_dir).join("agent.toml");
        let config = std::fs::read_to_string(&path).expect("join wrote it");
        let others = config.lines().filter(|line| !line.starts_with("system_uuid_file"));
        let lines: Vec<&str> = others.collect();
        write(&path, &format!("system_uuid_file = \"uuid\"\n{}\n", lines.join("\n")));
    }

    fn follow(&mut self, arguments: &[&str]) {
        assert!(self.follower.is_none(), "README shows it once");
        let events = self.lab.path("events");
        let follower = Command::new(env!("CARGO_BIN_EXE_quorumfence"))
            .args(arguments)
            .env_clear()
            .env("QUORUMFENCE_CONTEXT", self.lab.path("operator.toml"))
            .stdin(Stdio::null())
            .stdout(File::create(&events).expect("a file"))
            .stderr(Stdio::null())
            .spawn();
        self.follower = Some(follower.expect("the binary starts"));
        appears(&events, "armed: every host was tested");
    }

    /// Returns the command's words after `quorumfence`, each example put in place, and what README leaves to defaults.
    fn arguments(&mut self, command: &str, how: How) -> Vec<String> {
        let words = words(command);
        let value_of = |flag: &str| words.iter().skip_while(|word| *word != flag).nth(1).cloned();
        let mut added = Vec::new();
        match how {
            How::MakesController => {
                self.controller_dir = format!("controller-{}", self.addresses.len() + 1);
                let advertised = value_of("--advertise").expect("README says how to reach it");
                let listen = self.address(&advertised);
                added = vec!["--data-dir".into(), self.controller_dir.clone(), "--listen".into(), listen];
            }
            How::MakesAgent => {
                self.agent_dir = value_of("--host").expect("README names the host");
                added = ["--data-dir", &self.agent_dir, "--hypervisor", "test:///default"].map(Into::into).into();
            }
            How::Ends
            | How::PrintsToken
            | How::Enrols
            | How::StaysController
            | How::StaysAgent
            | How::Follows
            | How::Elsewhere(_) => {}
        }
        let mut arguments: Vec<String> = Vec::new();
        for word in &words[1..] {
            let flag = arguments.last().cloned().unwrap_or_default();
            arguments.push(self.put_in_place(&flag, word));
        }
        let is_example = |word: &String| word.contains(".example") || word.contains("192.0.2.") || word.contains('$');
        assert_eq!(arguments.iter().find(|word| is_example(word)), None, "nothing stands for it in '{command}'");
        arguments.append(&mut added);
        arguments
    }

    fn put_in_place(&mut self, flag: &str, word: &str) -> String {
        if let Some(rest) = word.strip_prefix("/var/lib/quorumfence-agent/") {
            return format!("{}/{rest}", self.agent_dir);
        }
        if let Some(rest) = word.strip_prefix("/var/lib/quorumfence/") {
            return format!("{}/{rest}", self.controller_dir);
        }
        match (flag, word) {
            ("--controller" | "--advertise", address) => self.address(address),
            ("--ping", _) => "127.0.0.1".into(),
            ("--bmc", _) => {
                let place = self.lab.path("bmc");
                self.bmc.get_or_insert_with(|| Bmc::start(&place, MACHINE)).address.clone()
            }
            ("--user", _) => BMC_USER.into(),
            ("--password-file", file) => {
                write(&self.lab.path(file), &format!("{BMC_PASSWORD}\n"));
                file.into()
            }
            (_, "$TOKEN") => self.token.clone(),
            (_, "…") => REASON.into(),
            (_, word) => word.into(),
        }
    }

    fn address(&mut self, shown: &str) -> String {
        self.addresses.entry(shown.into()).or_insert_with(free_address).clone()
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        if let Some(follower) = &mut self.follower {
            follower.kill().expect("it was started here");
            follower.wait().expect("a killed process ends");
        }
    }
}

/// Waits until a file contains the words.
fn appears(file: &Path, wanted: &str) {
    for _ in 0..TRIES_MAX {
        if std::fs::read_to_string(file).expect("it exists").contains(wanted) {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    panic!("'{wanted}' did not appear in {}", file.display());
}
