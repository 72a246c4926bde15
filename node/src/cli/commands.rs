//! The verbs. One file each: its arguments with their help, then one function.

mod agent;
mod arm;
mod cluster;
mod controller;
mod disarm;
mod event;
mod explain;
mod fence;
mod host;
mod instance;
mod member;
mod segment;
mod settings;
mod status;
mod token;

use super::{Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Found a cluster.
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Run or join a controller.
    #[command(subcommand)]
    Controller(controller::Verb),
    /// Run or join a host's agent.
    #[command(subcommand)]
    Agent(agent::Verb),
    /// Admit controllers and agents.
    #[command(subcommand)]
    Token(token::Verb),
    /// See and change the controllers that decide.
    #[command(subcommand)]
    Member(member::Verb),
    /// Show whether the cluster is well and what it is doing.
    Status(status::Args),
    /// See and change hosts.
    #[command(subcommand)]
    Host(host::Verb),
    /// Test fencing devices and see fences.
    #[command(subcommand)]
    Fence(fence::Verb),
    /// See and create segments: groups of hosts with one recovery policy.
    #[command(subcommand)]
    Segment(segment::Verb),
    /// See instances and where they belong.
    #[command(subcommand)]
    Instance(instance::Verb),
    /// See what happened.
    #[command(subcommand)]
    Event(event::Verb),
    /// Tell why something is, or is not, done.
    #[command(subcommand)]
    Explain(explain::Verb),
    /// Let the cluster fence, and open a storm brake that closed.
    Arm(arm::Args),
    /// Stop new fences; those that are decided are carried out.
    Disarm(disarm::Args),
    /// See and change the cluster's policy.
    #[command(subcommand)]
    Settings(settings::Verb),
    /// Show a host's death and its guests' recovery, on this machine.
    Demo(crate::demo::Args),
}

impl Command {
    /// Carries the command out.
    pub async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Cluster(verb) => verb.run(globals),
            Self::Controller(verb) => verb.run(globals).await,
            Self::Agent(verb) => verb.run(globals).await,
            Self::Token(verb) => verb.run(globals).await,
            Self::Member(verb) => verb.run(globals).await,
            Self::Status(args) => status::run(args, globals).await,
            Self::Host(verb) => verb.run(globals).await,
            Self::Fence(verb) => verb.run(globals).await,
            Self::Segment(verb) => verb.run(globals).await,
            Self::Instance(verb) => verb.run(globals).await,
            Self::Event(verb) => verb.run(globals).await,
            Self::Explain(verb) => verb.run(globals).await,
            Self::Arm(args) => arm::run(args, globals).await,
            Self::Disarm(args) => disarm::run(args, globals).await,
            Self::Settings(verb) => verb.run(globals).await,
            Self::Demo(args) => crate::demo::run(args, globals).await,
        }
    }
}
