//! `quorumfence agent join`

use std::path::PathBuf;

use quorumfence_machine::{ClusterId, HostId, LogIndex};
use quorumfence_proto::{convert, pb};
use serde::Serialize;

use super::super::super::join::{Target, controllers, join};
use super::super::super::output::{self, Printed};
use super::super::super::{Exit, Failure, Globals};
use super::super::controller::{check_config_place, write_config};
use crate::cluster::directory::{AgentDescription, AgentDirectory};
use crate::cluster::identity::Peer;
use crate::config;

/// Arguments of `agent join`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// This host's name in the cluster. It is fixed in the agent's certificate.
    #[arg(long, value_name = "NAME")]
    host: HostId,
    /// Where this agent keeps its identity.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/quorumfence-agent")]
    data_dir: PathBuf,
    /// The hypervisor's connection URI.
    #[arg(long, value_name = "URI", default_value = "qemu:///system")]
    hypervisor: String,
    /// Where to write the configuration [default: DIR/agent.toml].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Joined {
    cluster: ClusterId,
    name: String,
    host: HostId,
    config: PathBuf,
}

impl Printed for Joined {
    const KIND: &'static str = "Joined";
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let config_path = args.config.clone().unwrap_or_else(|| args.data_dir.join("agent.toml"));
    if AgentDirectory::open(&args.data_dir).is_ok() {
        let message = format!(
            "{} holds an agent already, so no token was used; start it with 'quorumfence agent run'",
            args.data_dir.display()
        );
        return Err(Failure::new(Exit::Conflict, message));
    }
    check_config_place(&config_path, &args.data_dir)?;
    let joiner = pb::Joiner { kind: Some(pb::joiner::Kind::Agent(args.host.to_string())) };
    let admitted = join(&args.target, joiner, |_| Ok(Peer::Agent(args.host.clone())), globals.timeout).await?;
    let cluster = convert::uuid(admitted.reply.cluster.clone(), "cluster");
    let cluster = ClusterId(cluster.map_err(|error| Failure::of(Exit::Failed, &error))?);
    let description = AgentDescription {
        cluster,
        host: args.host.clone(),
        controllers: controllers(&admitted.reply),
        controllers_at: LogIndex(0),
    };
    AgentDirectory::create(&args.data_dir, &description, &admitted.identity)
        .map_err(|error| Failure::of(Exit::Failed, &error))?;
    let config = config::Agent { hypervisor: args.hypervisor, ..config::Agent::new(args.data_dir, args.host.clone()) };
    write_config(&config_path, &config)?;
    let joined = Joined { cluster, name: admitted.reply.cluster_name, host: args.host, config: config_path };
    output::print(globals.output, &[joined], |joined| joined.iter().map(next_steps).collect())
}

fn next_steps(joined: &Joined) -> String {
    format!(
        "This machine is host {} of cluster {}.\n\n\
         1. Start its agent:\n     quorumfence agent run --config {}\n\
         2. Give it its segment and BMC, from an operator's machine:\n     \
         quorumfence host enrol {} --segment default --bmc ADDRESS --user USER --password-file FILE\n",
        joined.host,
        joined.name,
        joined.config.display(),
        joined.host,
    )
}
