use std::sync::Arc;
use std::time::Duration;

use quorumfence_drivers::lab::{Laboratory, Pace};
use quorumfence_machine::{BootId, HostId, LogIndex, Millis, SystemUuid};
use quorumfence_node::agent::{Ack, AgentMessage, Beat, ControllerMessage};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::super::super::runtime::{Node, in_the_world};
use super::super::{Ether, Place, Weather};
use super::{BROKEN_AFTER, Stream};

const BOOT: BootId = BootId([1; 16]);
const RAIN: Weather = Weather { loss_percent: 30, duplicate_percent: 30, delay_max: Duration::from_millis(400) };

/// Both ends of a stream. The controller is played by another host: the network asks it for no replica.
struct Ends {
    stream: Arc<Stream>,
    say: mpsc::Sender<AgentMessage>,
    heard: mpsc::Receiver<AgentMessage>,
    answer: mpsc::Sender<ControllerMessage>,
    answered: mpsc::Receiver<ControllerMessage>,
}

fn agent() -> HostId {
    "agent".parse().unwrap()
}

fn open() -> Ends {
    let laboratory = Laboratory::open(Pace::default());
    let controller: HostId = "controller".parse().unwrap();
    for (name, number) in [(agent(), 1), (controller.clone(), 2)] {
        laboratory.add_host(name, SystemUuid([number; 16]), BOOT);
    }
    let stream = Arc::new(Stream {
        ether: Ether::new(laboratory, 5),
        host: agent(),
        boot: Some(BOOT),
        here: Place::Host(agent()),
        there: Place::Host(controller),
        node: Node::new(6),
        closed: tokio::sync::Notify::new(),
    });
    let ((say, outbound), (to_controller, heard)) = (mpsc::channel(64), mpsc::channel(64));
    let ((answer, said), (inbound, answered)) = (mpsc::channel(64), mpsc::channel(64));
    drop(in_the_world(Arc::clone(&stream).rise(outbound, to_controller)));
    drop(in_the_world(Arc::clone(&stream).fall(said, inbound)));
    Ends { stream, say, heard, answer, answered }
}

fn beat(sequence: u64) -> AgentMessage {
    AgentMessage::Beat(Beat {
        sequence,
        boot: BOOT,
        sent: Millis(0),
        lease_left: Millis(0),
        laboratory: false,
        next_within: Millis(0),
    })
}

fn ack(sequence: u64) -> ControllerMessage {
    let (sent, heartbeat_interval) = (Millis(0), Millis(1));
    ControllerMessage::Ack(Ack {
        sequence,
        sent,
        admitted: None,
        controllers: Arc::default(),
        heartbeat_interval,
        list_as_of: None,
        applied: LogIndex(0),
    })
}

/// Returns what arrives until nothing arrives for a minute.
async fn all<T>(receiver: &mut mpsc::Receiver<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Ok(Some(message)) = timeout(Duration::from_secs(60), receiver.recv()).await {
        all.push(message);
    }
    all
}

#[tokio::test(start_paused = true)]
async fn a_stream_in_the_rain_is_late_and_loses_nothing_and_keeps_its_order() {
    let mut ends = open();
    ends.stream.ether.set_weather(RAIN);
    for sequence in 0..50 {
        ends.say.send(beat(sequence)).await.unwrap();
        ends.answer.send(ack(sequence)).await.unwrap();
    }
    assert_eq!(all(&mut ends.heard).await, (0..50).map(beat).collect::<Vec<_>>());
    assert_eq!(all(&mut ends.answered).await, (0..50).map(ack).collect::<Vec<_>>());
    assert!(ends.stream.ether.trace().iter().any(|line| line.ends_with("from agent lost")));
}

#[tokio::test(start_paused = true)]
async fn a_stream_outlives_a_short_cut() {
    let mut ends = open();
    let (here, there) = (ends.stream.here.clone(), ends.stream.there.clone());
    ends.stream.ether.cut(here.clone(), there.clone());
    ends.say.send(beat(1)).await.unwrap();
    ends.say.send(beat(2)).await.unwrap();
    ends.answer.send(ack(1)).await.unwrap();
    assert_eq!(timeout(Duration::from_secs(1), ends.answered.recv()).await, Ok(Some(ack(1))), "the other way is whole");
    sleep(BROKEN_AFTER / 2).await;
    ends.stream.ether.heal(&here, &there);
    assert_eq!(all(&mut ends.heard).await, [beat(1), beat(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_a_long_cut_broke_carries_no_more_and_neither_end_is_told() {
    let mut ends = open();
    ends.stream.ether.cut_all(ends.stream.here.clone());
    ends.say.send(beat(1)).await.unwrap();
    ends.answer.send(ack(1)).await.unwrap();
    sleep(BROKEN_AFTER * 2).await;
    ends.stream.ether.heal_all();
    assert!(ends.say.send(beat(2)).await.is_err());
    assert!(ends.answer.send(ack(2)).await.is_err());
    assert!(timeout(Duration::from_secs(60), ends.heard.recv()).await.is_err(), "half open");
    assert!(timeout(Duration::from_secs(60), ends.stream.closed.notified()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_new_boot_sends_nothing_of_the_old_one_and_closes_nothing() {
    let mut ends = open();
    ends.stream.ether.cut(ends.stream.here.clone(), ends.stream.there.clone());
    ends.say.send(beat(1)).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    ends.stream.ether.laboratory.cut_power(&agent());
    drop(ends.say);
    ends.stream.ether.laboratory.restore_power(&agent(), BootId([2; 16]));
    ends.stream.ether.heal_all();
    assert!(timeout(Duration::from_secs(60), ends.heard.recv()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_a_controller_said_arrives_though_it_died_and_what_it_had_to_say_again_does_not() {
    let mut ends = open();
    ends.answer.send(ack(1)).await.unwrap();
    tokio::task::yield_now().await;
    ends.stream.node.kill();
    ends.answer.send(ack(2)).await.unwrap();
    drop(ends.answer);
    assert_eq!(all(&mut ends.answered).await, [ack(1)]);
    assert!(timeout(Duration::from_secs(60), ends.stream.closed.notified()).await.is_err(), "a dead process is silent");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_one_end_closes_is_closed_at_the_other_after_what_was_said_before() {
    let mut ends = open();
    ends.say.send(beat(1)).await.unwrap();
    ends.answer.send(ack(1)).await.unwrap();
    drop((ends.say, ends.answer));
    assert_eq!((ends.heard.recv().await, ends.heard.recv().await), (Some(beat(1)), None));
    timeout(Duration::from_secs(1), ends.stream.closed.notified()).await.unwrap();
    assert_eq!(ends.answered.recv().await, Some(ack(1)));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_speaks_to_nobody_is_told_so() {
    let ends = open();
    drop(ends.heard);
    ends.say.send(beat(1)).await.unwrap();
    timeout(Duration::from_secs(1), ends.stream.closed.notified()).await.unwrap();
}
