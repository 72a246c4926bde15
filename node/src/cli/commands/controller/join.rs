//! `quorumfence controller join`

use std::path::PathBuf;

use quorumfence_drivers::secret::{ClusterKey, Secret};
use quorumfence_machine::{ClusterId, ControllerId};
use quorumfence_proto::{convert, pb};
use serde::Serialize;

use super::super::super::join::{Admitted, Target, join};
use super::super::super::output::{self, Printed};
use super::super::super::view::carried;
use super::super::super::{Exit, Failure, Globals};
use super::{check_config_place, write_config};
use crate::cluster::authority::Authority;
use crate::cluster::directory::{ControllerDescription, ControllerDirectory, ControllerFiles, Entry};
use crate::cluster::identity::Peer;
use crate::config::{self, Profile};

/// Arguments of `controller join`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Where this controller keeps its identity and database.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/quorumfence")]
    data_dir: PathBuf,
    /// Where this controller listens.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:7420")]
    listen: String,
    /// Where peers, agents and operators reach this controller.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: String,
    /// Timing of consensus; use the same on all controllers.
    #[arg(long, value_enum, default_value_t = Profile::Default)]
    profile: Profile,
    /// Where to write the configuration [default: DIR/controller.toml].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Let this controller use laboratory drivers, which fence nothing real.
    #[arg(long)]
    laboratory: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Joined {
    cluster: ClusterId,
    name: String,
    controller: u64,
    config: PathBuf,
}

impl Printed for Joined {
    const KIND: &'static str = "Joined";
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let config_path = args.config.clone().unwrap_or_else(|| args.data_dir.join("controller.toml"));
    let usual = config::Controller::new(args.data_dir.clone(), args.listen.clone(), args.advertise.clone());
    let config = config::Controller { raft_profile: args.profile, laboratory: args.laboratory, ..usual };
    config::check_address("--listen", &config.listen).map_err(|message| Failure::new(Exit::Usage, message))?;
    config::check_address("--advertise", &config.advertise).map_err(|message| Failure::new(Exit::Usage, message))?;
    if ControllerDirectory::open(&args.data_dir).is_ok() {
        let message = format!(
            "{} holds a controller already, so no token was used; start it with 'quorumfence controller run'",
            args.data_dir.display()
        );
        return Err(Failure::new(Exit::Conflict, message));
    }
    check_config_place(&config_path, &args.data_dir)?;
    let joiner = pb::Joiner { kind: Some(pb::joiner::Kind::Controller(args.advertise.clone())) };
    let expected = |reply: &pb::JoinReply| Ok(Peer::Controller(ControllerId(carried(reply.controller.as_ref())?.id)));
    let admitted = join(&args.target, joiner, expected, globals.timeout).await?;
    let joined = keep(admitted, &args, &config_path)?;
    write_config(&config_path, &config)?;
    output::print(globals.output, &[joined], |joined| joined.iter().map(next_steps).collect())
}

fn keep(admitted: Admitted, args: &Args, config: &std::path::Path) -> Result<Joined, Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Failed, error);
    let reply = admitted.reply;
    let secrets = carried(reply.controller)?;
    let cluster = ClusterId(convert::uuid(reply.cluster, "cluster").map_err(|error| failed(&error))?);
    let authority = Authority::from_pem(&reply.ca_pem, &Secret::new(secrets.ca_key_pem));
    let authority = authority.map_err(|error| failed(&error))?;
    let cluster_key = ClusterKey::from_bytes(&secrets.cluster_key).map_err(|error| failed(&error))?;
    let controller = ControllerId(secrets.id);
    let description = ControllerDescription { cluster, cluster_name: reply.cluster_name.clone(), controller };
    let files = ControllerFiles {
        description: &description,
        authority: &authority,
        identity: &admitted.identity,
        cluster_key: &cluster_key,
        entry: Entry::Joins,
    };
    ControllerDirectory::create(&args.data_dir, &files).map_err(|error| failed(&error))?;
    Ok(Joined { cluster, name: reply.cluster_name, controller: controller.0, config: config.into() })
}

fn next_steps(joined: &Joined) -> String {
    let id = ControllerId(joined.controller);
    format!(
        "This machine is {id} of cluster {}.\n\n\
         1. Start it:\n     quorumfence controller run --config {}\n\
         2. Let it vote, from an operator's machine:\n     quorumfence member add {id} --promote --wait\n",
        joined.name,
        joined.config.display(),
    )
}
