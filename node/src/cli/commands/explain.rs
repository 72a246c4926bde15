//! `quorumfence explain`: why.

mod host;
mod instance;

use quorumfence_machine::{EventRecord, Fence, Instance};
use quorumfence_proto::{convert, pb};
use serde::Serialize;

use super::super::client::understood;
use super::super::output::{self, Printed};
use super::super::view::event::EventView;
use super::super::view::fence::{FenceView, fence_table};
use super::super::view::host::{HostView, host_facts, vote_table};
use super::super::view::instance::{InstanceView, instance_facts};
use super::super::{Exit, Failure, Globals};

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Tell why a host is where it is
    Host(host::Args),
    /// Tell why an instance is where it is.
    Instance(instance::Args),
}

impl Verb {
    pub(super) async fn run(self, globals: &Globals) -> Result<(), Failure> {
        match self {
            Self::Host(args) => host::run(args, globals).await,
            Self::Instance(args) => instance::run(args, globals).await,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    host: Option<HostView>,
    instance: Option<InstanceView>,
    fences: Vec<FenceView>,
    events: Vec<EventView>,
}

impl Printed for Explained {
    const KIND: &'static str = "Explanation";
}

async fn explain(subject: pb::explain_request::Subject, globals: &Globals) -> Result<(), Failure> {
    let request = pb::ExplainRequest { subject: Some(subject) };
    let mut client = globals.client()?;
    let reply = client.read(request, |mut client, request| async move { client.explain(request).await }).await?;
    let odd = |error: convert::Error| Failure::of(Exit::Failed, &error);
    let instance: Option<Instance> = reply.instance.map(understood).transpose()?;
    let fences: Vec<Fence> = convert::list(reply.fences, "fences").map_err(odd)?;
    let events: Vec<EventRecord> = convert::list(reply.events, "events").map_err(odd)?;
    let explained = Explained {
        host: reply.host.map(HostView::of).transpose()?,
        instance: instance.map(InstanceView::from),
        fences: fences.into_iter().map(FenceView::from).collect(),
        events: events.into_iter().map(EventView::from).collect(),
    };
    output::print(globals.output, &[explained], |explained| explained.iter().map(text).collect())
}

fn text(explained: &Explained) -> String {
    let mut text = String::new();
    if let Some(instance) = &explained.instance {
        text += &(instance_facts(instance) + "\n");
    }
    if let Some(host) = &explained.host {
        text += &(host_facts(host) + "\n" + &vote_table(host) + "\n");
    }
    if !explained.fences.is_empty() {
        text += &(fence_table(&explained.fences) + "\n");
    }
    text.extend(explained.events.iter().map(EventView::line));
    text
}
