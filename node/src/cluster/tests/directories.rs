use std::fs::{Permissions, read_dir, read_to_string, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use quorumfence_drivers::secret::ClusterKey;
use quorumfence_machine::{BootId, ControllerId, InstanceId, LogIndex, Refusal, Refused, Token};

use super::super::authority::Authority;
use super::super::directory::{
    AgentDescription, AgentDirectory, ControllerAddress, ControllerDescription, ControllerDirectory, ControllerFiles,
    Entry, Error, draw_cluster_key,
};
use super::super::file;
use super::super::identity::Identity;
use super::super::operator::{self, Context};
use super::{authority, cluster, controller, member, peer, reply};

struct Founder {
    authority: Authority,
    identity: Identity,
    key: ClusterKey,
    description: ControllerDescription,
}

fn founder() -> Founder {
    let authority = authority();
    let identity = member(&authority, &controller(1));
    let description =
        ControllerDescription { cluster: cluster(), cluster_name: "berlin".into(), controller: ControllerId(1) };
    Founder { authority, identity, key: draw_cluster_key().expect("entropy"), description }
}

impl Founder {
    fn create(&self, root: &Path, entry: Entry) -> Result<ControllerDirectory, Error> {
        let (description, authority) = (&self.description, &self.authority);
        let files = ControllerFiles { description, authority, identity: &self.identity, cluster_key: &self.key, entry };
        ControllerDirectory::create(root, &files)
    }
}

fn modes(root: &Path) -> Vec<(String, u32)> {
    let mut modes: Vec<(String, u32)> = read_dir(root)
        .expect("a directory")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("its metadata").permissions().mode() & 0o777;
            (entry.file_name().into_string().expect("text"), mode)
        })
        .collect();
    modes.sort();
    modes
}

fn address(id: u64) -> ControllerAddress {
    ControllerAddress { id: ControllerId(id), address: format!("127.0.0.1:{}", 7000 + id) }
}

#[test]
fn a_controllers_directory_gives_back_what_was_put_in() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let root = place.path().join("deep").join("controller");
    let founder = founder();
    founder.create(&root, Entry::Founds).expect("nothing is there");

    let directory = ControllerDirectory::open(&root).expect("a controller lives there");
    assert_eq!(directory.description().expect("who it is"), founder.description);
    assert_eq!(directory.identity().expect("its identity").certificate_pem(), founder.identity.certificate_pem());
    assert_eq!(directory.authority().expect("the authority").fingerprint(), founder.authority.fingerprint());
    assert_eq!(directory.cluster_key().expect("the cluster key").expose(), founder.key.expose());
    assert_eq!(directory.store(), root.join("store"));
    let expect = [
        ("bootstrap", 0o644),
        ("ca.key", 0o600),
        ("ca.pem", 0o644),
        ("cluster.key", 0o600),
        ("identity.toml", 0o644),
        ("node.key", 0o600),
        ("node.pem", 0o644),
    ];
    assert_eq!(modes(&root), expect.map(|(name, mode)| (name.to_string(), mode)));
}

#[test]
fn the_log_is_initialised_once_and_only_by_the_founder() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let founds = founder().create(&place.path().join("founds"), Entry::Founds).expect("nothing is there");
    let joins = founder().create(&place.path().join("joins"), Entry::Joins).expect("nothing is there");
    assert!(founds.bootstrap_is_due());
    assert!(!joins.bootstrap_is_due());
    founds.bootstrap_is_done().expect("the marker goes");
    founds.bootstrap_is_done().expect("it is gone already");
    assert!(!founds.bootstrap_is_due());
}

#[test]
fn a_place_where_anything_of_a_member_is_stays_as_it_was() {
    for name in ["identity.toml", "ca.key", "agent.pem", "store", "bootstrap"] {
        let place = tempfile::tempdir().expect("a temporary directory");
        write(place.path().join(name), "kept").expect("it can be written");
        let error = founder().create(place.path(), Entry::Founds).expect_err("it is occupied");
        assert!(matches!(error, Error::Occupied { found, .. } if found == name), "{name}: {error}");
        assert_eq!(read_to_string(place.path().join(name)).expect("it is there"), "kept");
        assert_eq!(modes(place.path()).len(), 1);
    }
}

#[test]
fn an_empty_place_holds_no_member() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let error = ControllerDirectory::open(place.path()).expect_err("nobody lives there");
    assert!(matches!(error, Error::NoMember { .. }), "{error}");
    let error = AgentDirectory::open(place.path()).expect_err("nobody lives there");
    assert!(matches!(error, Error::NoMember { .. }), "{error}");
}

#[test]
fn a_key_that_others_can_read_is_refused_by_name() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let directory = founder().create(&place.path().join("c"), Entry::Founds).expect("nothing is there");
    let loads: [(&str, &dyn Fn() -> Option<Error>); 3] = [
        ("node.key", &|| directory.identity().err()),
        ("ca.key", &|| directory.authority().err()),
        ("cluster.key", &|| directory.cluster_key().err()),
    ];
    for (name, load) in loads {
        assert!(load().is_none(), "{name} is private at first");
        let path = place.path().join("c").join(name);
        set_permissions(&path, Permissions::from_mode(0o644)).expect("the mode can be set");
        let error = load().expect("it is refused");
        let Error::File(file::Error::NotPrivate { path: found, mode }) = &error else { panic!("{name}: {error}") };
        assert_eq!((found, *mode), (&path, 0o644));
    }
}

#[test]
fn the_certificate_of_another_member_is_refused() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut founder = founder();
    let directory = founder.create(&place.path().join("c1"), Entry::Founds).expect("nothing is there");
    let other = member(&founder.authority, &controller(2));
    assert!(matches!(directory.renew(&other).expect_err("another member"), Error::OtherMember { .. }));

    founder.identity = other;
    let error = founder.create(&place.path().join("c2"), Entry::Joins).expect_err("another member");
    assert!(matches!(error, Error::OtherMember { .. }), "{error}");
    assert!(!place.path().join("c2").exists());
}

#[test]
fn a_renewal_keeps_the_key_and_replaces_the_certificate() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let founder = founder();
    let directory = founder.create(&place.path().join("c"), Entry::Founds).expect("nothing is there");
    let now = SystemTime::now();

    let pending = founder.identity.renewal().expect("a request");
    let signed = founder.authority.sign(pending.request_pem(), &controller(1), now).expect("a certificate");
    let renewed = pending.complete(&reply(&founder.authority, &signed), &controller(1), now).expect("an identity");
    directory.renew(&renewed).expect("it is for the same key");
    let loaded = directory.identity().expect("the renewed identity");
    assert_eq!(loaded.certificate_pem(), signed);
    assert_eq!(loaded.key_pem(), founder.identity.key_pem());
    assert_ne!(signed, founder.identity.certificate_pem());

    let error = directory.renew(&member(&founder.authority, &controller(1))).expect_err("another key");
    assert!(matches!(error, Error::OtherKey { .. }), "{error}");
    assert_eq!(directory.identity().expect("as before").certificate_pem(), signed);
}

#[test]
fn two_agents_never_run_in_one_directory() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let root = place.path().join("agent");
    let description = AgentDescription {
        cluster: cluster(),
        host: "h1".parse().expect("a host"),
        controllers: vec![address(1)],
        controllers_at: LogIndex(0),
    };
    AgentDirectory::create(&root, &description, &member(&authority(), &peer("h1.agent"))).expect("nothing is there");
    let directory = AgentDirectory::open(&root).expect("an agent lives there");
    let lock = directory.lock().expect("nobody holds it");
    let error = AgentDirectory::open(&root).and_then(|other| other.lock()).expect_err("one runs");
    let expected = format!(
        "another agent runs in {}; stop it first, or join another host in a directory of its own",
        root.display()
    );
    assert_eq!(error.to_string(), expected);
    drop(lock);
    directory.lock().expect("it is free again");
    let boot = BootId([1; 16]);
    let refused = Refused { instance: InstanceId([5; 16]), token: Token(LogIndex(9)), refusal: Refusal::Hypervisor };
    directory.refusals(boot).expect("a place").0.keep(&[refused]).expect("it can be written");
    assert_eq!(directory.refusals(boot).expect("it can be read").1, [refused]);
}

#[test]
fn an_agent_remembers_its_controllers_in_order() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let root = place.path().join("agent");
    let authority = authority();
    let description = AgentDescription {
        cluster: cluster(),
        host: "h1".parse().expect("a host"),
        controllers: vec![address(1)],
        controllers_at: LogIndex(0),
    };
    let identity = member(&authority, &peer("h1.agent"));
    AgentDirectory::create(&root, &description, &identity).expect("nothing is there");

    let directory = AgentDirectory::open(&root).expect("an agent lives there");
    assert_eq!(directory.description().expect("who it is"), description);
    assert_eq!(directory.identity().expect("its identity").peer(), &peer("h1.agent"));
    directory.remember(LogIndex(7), &[address(3), address(2)]).expect("it can be written");
    let remembered = directory.description().expect("who it is");
    assert_eq!((remembered.controllers_at, remembered.controllers), (LogIndex(7), vec![address(2), address(3)]));
    let error = AgentDirectory::create(&root, &description, &identity).expect_err("one lives there");
    assert!(matches!(error, Error::Occupied { found: "identity.toml", .. }), "{error}");
}

#[test]
fn an_unknown_key_in_a_description_is_an_error() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let root = place.path().join("c");
    let directory = founder().create(&root, Entry::Founds).expect("nothing is there");
    let path = root.join("identity.toml");
    let text = read_to_string(&path).expect("it is there") + "colour = \"red\"\n";
    write(&path, text).expect("it can be written");
    let error = directory.description().expect_err("no such key");
    assert!(matches!(&error, Error::Toml { path: found, .. } if *found == path), "{error}");
}

#[test]
fn an_operators_context_is_one_private_file() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("deep").join("operator.toml");
    let authority = authority();
    let context = Context {
        cluster_name: "berlin".into(),
        cluster: cluster(),
        identity: member(&authority, &peer("ada.operator")),
        controllers: [(ControllerId(1), "127.0.0.1:7001".to_string())].into(),
    };
    context.create(&path).expect("nothing is there");
    assert!(matches!(context.create(&path), Err(operator::Error::File(file::Error::Exists { .. }))));

    let loaded = Context::load(&path).expect("its own file");
    assert_eq!(loaded.identity.peer(), &peer("ada.operator"));
    assert_eq!(loaded.identity.key_pem(), context.identity.key_pem());
    assert_eq!(
        (loaded.cluster_name, loaded.cluster, loaded.controllers),
        ("berlin".into(), cluster(), context.controllers)
    );

    set_permissions(&path, Permissions::from_mode(0o640)).expect("the mode can be set");
    let error = Context::load(&path).expect_err("others can read it");
    assert!(matches!(error, operator::Error::File(file::Error::NotPrivate { mode: 0o640, .. })), "{error}");
}

#[test]
fn a_mistake_in_a_context_is_told_without_its_key() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let path = place.path().join("operator.toml");
    write(&path, "key = \"\"\"SECRET\n\"\"\" x\n").expect("it can be written");
    set_permissions(&path, Permissions::from_mode(0o600)).expect("the mode can be set");
    let error = Context::load(&path).expect_err("a mistake");
    let source = std::error::Error::source(&error).expect("the mistake");
    assert!(!format!("{error} {error:?} {source}").contains("SECRET"));
}
