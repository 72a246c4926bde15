//! `quorumfence token create`

use std::time::Duration;

use quorumfence_machine::JoinTokenId;
use quorumfence_proto::{convert, pb};
use serde::Serialize;

use super::super::super::client::mutation;
use super::super::super::output::{self, Printed};
use super::super::super::view::carried;
use super::super::super::{Exit, Failure, Globals, duration};
use crate::cluster::authority::Fingerprint;
use crate::cluster::token::JoinToken;

/// Arguments of `token create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What the token admits.
    #[arg(long, value_enum)]
    role: Role,
    /// How long it can be used.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1h")]
    ttl: Duration,
    /// How often it can be used.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    uses: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    /// A controller node.
    Controller,
    /// A host's agent.
    Agent,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    id: JoinTokenId,
    role: &'static str,
    uses: u32,
    ttl_ms: u64,
    token: String,
}

impl Printed for Created {
    const KIND: &'static str = "JoinToken";
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let (role, role_name) = match args.role {
        Role::Controller => (pb::Role::Controller, "controller"),
        Role::Agent => (pb::Role::Agent, "agent"),
    };
    let life_ms = u64::try_from(args.ttl.as_millis()).expect("durations are limited to ten years");
    let request = pb::TokenCreateRequest { mutation: Some(mutation("")), role: role.into(), life_ms, uses: args.uses };
    let mut client = globals.client()?;
    let reply = client.change(request, |mut client, request| async move { client.token_create(request).await }).await?;
    let token = token(reply)?;
    let created =
        Created { id: token.id.clone(), role: role_name, uses: args.uses, ttl_ms: life_ms, token: token.expose() };
    // The bare token, so that a script can take the line as it is; nothing shows it again.
    output::print(globals.output, &[created], |created| {
        created.iter().map(|created| format!("{}\n", created.token)).collect()
    })
}

fn token(reply: pb::TokenCreateReply) -> Result<JoinToken, Failure> {
    let odd = |error: &(dyn std::error::Error + 'static)| Failure::of(Exit::Failed, error);
    let authority = Fingerprint(carried(reply.ca_fingerprint.try_into().ok())?);
    let id = convert::name(reply.id, "id").map_err(|error| odd(&error))?;
    JoinToken::from_parts(authority, id, &reply.secret).map_err(|error| odd(&error))
}
