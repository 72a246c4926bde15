//! `quorumfence cluster init`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use quorumfence_machine::{ClusterId, ControllerId, HostId};
use serde::Serialize;

use super::super::super::output::{self, Printed};
use super::super::super::{Exit, Failure, Globals};
use super::super::controller::{check_config_place, write_config};
use crate::cluster::authority::Authority;
use crate::cluster::directory::{ControllerDescription, ControllerDirectory, ControllerFiles, Entry, draw_cluster_key};
use crate::cluster::identity::{Identity, Peer, PendingIdentity, SignedCertificate};
use crate::cluster::operator::Context;
use crate::config::{self, Profile};

/// The first controller's id.
const FIRST: ControllerId = ControllerId(1);

/// Arguments of `cluster init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What operators call the cluster.
    #[arg(long, default_value = "quorumfence")]
    name: HostId,
    /// Where this controller keeps its identity and database.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/quorumfence")]
    data_dir: PathBuf,
    /// Where this controller listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7420")]
    listen: String,
    /// Where peers, agents and operators reach this controller.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: String,
    /// Timing of consensus and the first settings: "fast" detects a dead host in about a second.
    #[arg(long, value_enum, default_value_t = Profile::Default)]
    profile: Profile,
    /// The first operator's name, which stands in every change that they make.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    operator: HostId,
    /// Where to write the controller's configuration [default: DIR/controller.toml].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let this controller use laboratory drivers, which fence nothing real.
    #[arg(long)]
    laboratory: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Founded {
    cluster: ClusterId,
    name: String,
    controller: u64,
    config: PathBuf,
    context: PathBuf,
    authority: String,
}

impl Printed for Founded {
    const KIND: &'static str = "Cluster";
}

#[expect(clippy::disallowed_methods, reason = "a cluster is founded once, by hand")]
pub(super) fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let context_path = globals.context_path()?;
    let config_path = args.config.clone().unwrap_or_else(|| args.data_dir.join("controller.toml"));
    let config = checked_config(&args)?;
    refuse_existing(&context_path)?;
    check_config_place(&config_path, &args.data_dir)?;
    let cluster = ClusterId(rand::random());
    let now = SystemTime::now();
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Failed, error);
    let authority = Authority::create(&cluster, now).map_err(|error| failed(&error))?;
    let identity = sign(&authority, &Peer::Controller(FIRST), now)?;
    let operator = sign(&authority, &Peer::Operator(args.operator.to_string()), now)?;
    let cluster_key = draw_cluster_key().map_err(|error| failed(&error))?;
    let description = ControllerDescription { cluster, cluster_name: args.name.to_string(), controller: FIRST };
    let files = ControllerFiles {
        description: &description,
        authority: &authority,
        identity: &identity,
        cluster_key: &cluster_key,
        entry: Entry::Founds,
    };
    ControllerDirectory::create(&args.data_dir, &files).map_err(|error| Failure::of(Exit::Conflict, &error))?;
    write_config(&config_path, &config)?;
    let context = Context {
        cluster_name: args.name.to_string(),
        cluster,
        identity: operator,
        controllers: BTreeMap::from([(FIRST, args.advertise.clone())]),
    };
    context.create(&context_path).map_err(|error| failed(&error))?;
    let founded = Founded {
        cluster,
        name: args.name.to_string(),
        controller: FIRST.0,
        config: config_path,
        context: context_path,
        authority: authority.fingerprint().to_string(),
    };
    output::print(globals.output, &[founded], |founded| founded.iter().map(next_steps).collect())
}

fn checked_config(args: &Args) -> Result<config::Controller, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    config::check_address("--listen", &args.listen).map_err(usage)?;
    config::check_address("--advertise", &args.advertise).map_err(usage)?;
    if config::is_unspecified(&args.advertise) {
        let message =
            format!("--advertise is {}, which nobody can reach; give the address that others use", args.advertise);
        return Err(usage(message));
    }
    let usual = config::Controller::new(args.data_dir.clone(), args.listen.clone(), args.advertise.clone());
    Ok(config::Controller { raft_profile: args.profile, laboratory: args.laboratory, ..usual })
}

fn refuse_existing(path: &Path) -> Result<(), Failure> {
    if !path.exists() {
        return Ok(());
    }
    let message = format!(
        "{} exists already, so nothing was written; a cluster is founded once. Name another file, or move this one away",
        path.display()
    );
    Err(Failure::new(Exit::Conflict, message))
}

fn sign(authority: &Authority, peer: &Peer, now: SystemTime) -> Result<Identity, Failure> {
    let pending = PendingIdentity::generate().map_err(|error| Failure::of(Exit::Failed, &error))?;
    let certificate = authority.sign(pending.request_pem(), peer, now);
    let certificate = certificate.map_err(|error| Failure::of(Exit::Failed, &error))?;
    let reply = SignedCertificate {
        certificate_pem: &certificate,
        authority_pem: authority.certificate_pem(),
        pinned: authority.fingerprint(),
    };
    pending.complete(&reply, peer, now).map_err(|error| Failure::of(Exit::Failed, &error))
}

fn next_steps(founded: &Founded) -> String {
    format!(
        "Cluster {} founded. This machine is controller-1; its authority's fingerprint is\n  {}\n\n\
         1. Start this controller:\n     quorumfence controller run --config {}\n\
         2. Let two more controllers in; each needs a token of its own:\n     \
         quorumfence token create --role controller --context {}\n\
         3. See whether the cluster is well:\n     quorumfence status --context {}\n\n\
         It is disarmed: it watches and fences nothing until 'quorumfence arm'.\n\
         The operator context holds a secret key; keep {} to yourself.\n",
        founded.name,
        founded.authority,
        founded.config.display(),
        founded.context.display(),
        founded.context.display(),
        founded.context.display(),
    )
}
