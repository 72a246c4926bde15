//! Clients: one after the other they write and read through any controller, and write down what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorumfence_machine::{ControllerId, LogIndex, RequestId, Segment, SegmentId};
use quorumfence_proto::pb::{Mutation, ReadRequest, SegmentCreateRequest};
use quorumfence_proto::status::{Detail, detail};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::operator::Lines;
use super::record::Record;
use super::{Processes, Roll};
use crate::chance::Chance;
use crate::observation::{Answer, Request, Seen};

/// Clients that work at the same time.
const CLIENTS: u64 = 3;

/// A client gives up after this long; what it asked for may still happen.
const PATIENCE: Duration = Duration::from_secs(12);

/// Clients at work.
#[derive(Debug)]
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Returns a run without clients.
    pub(super) fn none() -> Self {
        Self { stop: Arc::default(), tasks: Vec::new() }
    }

    /// Sends the clients home. Each ends the call that it is in.
    pub(super) fn send_home(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether the last one went.
    pub(super) fn are_gone(&self) -> bool {
        self.tasks.iter().all(JoinHandle::is_finished)
    }
}

impl Processes {
    /// Lets clients work until they are sent home.
    pub(super) fn open_for_clients(&self) -> anyhow::Result<Clients> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for number in 0..CLIENTS {
            let client = Client {
                number,
                chance: Chance::new(self.seed, &format!("client {number}")),
                roll: self.roll.clone(),
                lines: self.lines()?,
                record: self.record.clone(),
                calls: 0,
            };
            tasks.push(work(client, Arc::clone(&stop)));
        }
        Ok(Clients { stop, tasks })
    }
}

#[expect(clippy::disallowed_methods, reason = "the handle is kept, and asked whether the client went home")]
fn work(client: Client, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    tokio::spawn(client.work(stop))
}

struct Client {
    number: u64,
    chance: Chance,
    roll: Roll,
    lines: Lines,
    record: Record,
    calls: u64,
}

impl Client {
    async fn work(mut self, stop: Arc<AtomicBool>) {
        while !stop.load(Ordering::SeqCst) {
            sleep(Duration::from_millis(self.chance.between(50, 1000))).await;
            let Some(controller) = self.chance.pick(&self.roll.present()).copied() else { return };
            self.calls += 1;
            let call = self.calls * CLIENTS + self.number;
            if self.chance.percent(50) { self.write(call, controller).await } else { self.read(call, controller).await }
        }
    }

    /// Writes, and asks again under the same request id, elsewhere, when nobody knows what became of it.
    async fn write(&mut self, call: u64, controller: ControllerId) {
        let text = format!("call-{call:06}");
        self.record.see(Seen::Called { call, controller, request: Request::Write { text: text.clone() } });
        let Ok(id) = text.parse::<SegmentId>() else { return };
        let segment = Segment { id, ..Segment::default() };
        let mutation = Mutation { request: request_id(call).0.to_vec(), reason: String::new() };
        let request = SegmentCreateRequest { mutation: Some(mutation), segment: Some(segment.into()) };
        let mut answer = Answer::Unknown("nobody was asked".into());
        let mut at = controller;
        for _ in 0..if self.chance.percent(70) { 3 } else { 1 } {
            let asked = async {
                let reply = self.lines.to(at).await?.segment_create(request.clone()).await?;
                Ok(Answer::Written(LogIndex(reply.into_inner().at)))
            };
            answer = heard(timeout(PATIENCE, asked).await);
            if !matches!(answer, Answer::Unknown(_)) {
                break;
            }
            self.lines.hang_up(at);
            at = self.chance.pick(&self.roll.present()).copied().unwrap_or(at);
        }
        self.record.see(Seen::Answered { call, answer });
    }

    async fn read(&mut self, call: u64, controller: ControllerId) {
        self.record.see(Seen::Called { call, controller, request: Request::Read });
        let asked = async {
            let reply = self.lines.to(controller).await?.status(ReadRequest { local: false }).await?;
            Ok(Answer::Read(LogIndex(reply.into_inner().applied)))
        };
        let answer = heard(timeout(PATIENCE, asked).await);
        if matches!(answer, Answer::Unknown(_)) {
            self.lines.hang_up(controller);
        }
        self.record.see(Seen::Answered { call, answer });
    }
}

fn request_id(call: u64) -> RequestId {
    let mut bytes = [0xcc; 16];
    bytes[..8].copy_from_slice(&call.to_be_bytes());
    RequestId(bytes)
}

/// Only what the state machine itself refused is known not to have happened.
fn heard<T>(asked: Result<Result<Answer, Status>, T>) -> Answer {
    match asked {
        Ok(Ok(answer)) => answer,
        Ok(Err(status)) => match detail(&status) {
            Some(Detail::Rejected(why)) => Answer::Refused(why.to_string()),
            Some(Detail::NotLeader { .. }) | None => Answer::Unknown(status.message().to_string()),
        },
        Err(_) => Answer::Unknown("no answer in time".into()),
    }
}
