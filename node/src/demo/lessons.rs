//! The lessons: what goes wrong, and what to wait for. Written once for both kinds of stage.

use std::time::Duration;

use quorumfence_machine::{ControllerId, Event, HostId, WallMillis};
use tokio::time::sleep;

use super::args::Lesson;
use super::console::Console;
use super::remote::{Remote, until};
use super::shell::Shell;
use super::stage::{Stage, wall};
use super::timeline::{Entry, Step};
use crate::cli::{Exit, Failure};

/// Longest wait for one step of a lesson.
const PATIENCE: Duration = Duration::from_secs(240);

/// While no BMC answers, nothing may move for at least this long.
const STILLNESS: Duration = Duration::from_secs(6);

/// A second copy would have written by then.
const AFTERMATH: Duration = Duration::from_secs(3);

/// Between two looks at who leads after the leader's death.
const GLANCE: Duration = Duration::from_millis(5);

/// Everything that a lesson is played with.
#[derive(Debug)]
pub(super) struct Scene<S> {
    pub(super) stage: S,
    pub(super) remote: Remote,
    pub(super) shell: Shell,
    pub(super) console: Console,
    /// The host that suffers.
    pub(super) victim: HostId,
}

/// What a lesson did, for the timeline and the verdict.
#[derive(Debug, Clone, Default)]
pub(super) struct Story {
    /// When the fault began.
    pub(super) fault: WallMillis,
    /// What the demo itself did.
    pub(super) notes: Vec<Entry>,
    /// When a person released the host's guests, where one had to.
    pub(super) released: Option<WallMillis>,
    /// From the leader's death to the next commit, where the leader died.
    pub(super) next_commit_ms: Option<u64>,
}

/// Plays one lesson to its end.
pub(super) async fn play<S: Stage>(scene: &mut Scene<S>, lesson: Lesson) -> Result<Story, Failure> {
    let mut story = match lesson {
        Lesson::PowerCut => power_cut(scene).await,
        Lesson::Partition => partition(scene).await,
        Lesson::BmcDead => bmc_dead(scene).await,
        Lesson::LeaderDies => leader_dies(scene).await,
    }?;
    recovered(scene, &story).await?;
    sleep(AFTERMATH).await;
    story.notes.sort_by_key(|note| note.wall_ms);
    Ok(story)
}

async fn power_cut<S: Stage>(scene: &mut Scene<S>) -> Result<Story, Failure> {
    let mut story = begin(scene, &format!("the power of {} is cut, as a whole", scene.victim))?;
    scene.stage.cut_power(&scene.victim).await?;
    story.note(format!("everything on {} is dead", scene.victim));
    Ok(story)
}

async fn partition<S: Stage>(scene: &mut Scene<S>) -> Result<Story, Failure> {
    let story =
        begin(scene, &format!("the network cable of {} is pulled; the host and its guests live on", scene.victim))?;
    scene.stage.isolate(&scene.victim).await?;
    Ok(story)
}

async fn bmc_dead<S: Stage>(scene: &mut Scene<S>) -> Result<Story, Failure> {
    let victim = scene.victim.clone();
    let mut story = begin(scene, &format!("the power of {victim} and of its BMC is cut"))?;
    scene.stage.kill_bmc(&victim).await?;
    scene.stage.cut_power(&victim).await?;
    story.note(format!("{victim} and its BMC are dead"));
    wait_for_event(
        scene,
        &story,
        "a fence attempt that fails",
        |event| matches!(event, Event::FenceAttemptFailed { host, .. } if *host == victim),
    )
    .await?;
    scene.console.say(&format!(
        "\nNo level can prove {victim} off, so nothing moves. The demo waits {} s; then an operator asks why:",
        STILLNESS.as_secs()
    ))?;
    sleep(STILLNESS).await;
    scene.shell.show(&["status"]).await?;
    scene.shell.show(&["explain", "host", victim.as_str()]).await?;
    scene.console.say(&format!("\nThe operator went to the rack, saw that {victim} has no power, and says so:"))?;
    story.released = Some(wall());
    story.note(format!("an operator confirms that {victim} is dead"));
    let reason = "seen in the rack without power";
    scene.shell.show(&["host", "confirm-dead", victim.as_str(), "--yes", "--reason", reason]).await?;
    Ok(story)
}

async fn leader_dies<S: Stage>(scene: &mut Scene<S>) -> Result<Story, Failure> {
    let victim = scene.victim.clone();
    // A silent BMC holds the moment between the decision and the power-off open.
    scene.stage.silence_bmc(&victim).await?;
    let mut story = begin(scene, &format!("the network cable of {victim} is pulled, and its BMC is slow to answer"))?;
    let leader = scene.remote.leader().await?;
    scene.stage.isolate(&victim).await?;
    wait_for_event(
        scene,
        &story,
        "the decision",
        |event| matches!(event, Event::FenceDecided { host, .. } if *host == victim),
    )
    .await?;
    let killed = format!("{leader} is killed: it led, and the decision is committed");
    story.notes.push(Entry::note(wall(), Step::LeaderKilled, &killed));
    scene.stage.kill_controller(leader).await?;
    story.next_commit_ms = Some(next_commit(scene, leader).await?);
    scene.stage.wake_bmc(&victim).await?;
    story.note(format!("the BMC of {victim} answers again"));
    Ok(story)
}

fn begin<S: Stage>(scene: &Scene<S>, what: &str) -> Result<Story, Failure> {
    let fault = wall();
    scene.console.say(&format!("\nFault: {what}."))?;
    Ok(Story { fault, notes: vec![Entry::note(fault, Step::Fault, what)], ..Story::default() })
}

impl Story {
    fn note(&mut self, what: String) {
        self.notes.push(Entry::note(wall(), Step::Demo, &what));
    }
}

async fn wait_for_event<S: Stage>(
    scene: &Scene<S>,
    story: &Story,
    what: &str,
    is_it: impl Fn(&Event) -> bool,
) -> Result<(), Failure> {
    until(what, PATIENCE, async || Ok(scene.remote.committed(story.fault).iter().any(|entry| is_it(&entry.event))))
        .await
}

/// Returns the milliseconds until the others have a leader whose entries are committed.
async fn next_commit<S: Stage>(scene: &mut Scene<S>, dead: ControllerId) -> Result<u64, Failure> {
    let death = wall();
    let mut before: Option<(u64, u64)> = None;
    loop {
        let states = scene.remote.own_states().await;
        let newest =
            states.iter().filter(|state| state.controller != dead.0).map(|state| (state.term, state.applied)).max();
        let led = |term: u64| {
            let leads = |state: &quorumfence_proto::pb::StatusReply| {
                state.term == term && state.leader.as_ref().is_some_and(|leader| leader.id != dead.0)
            };
            states.iter().any(leads)
        };
        let since = wall().0 - death.0;
        match (before, newest) {
            (None, newest) => before = newest,
            (Some((_, applied)), Some(newest)) if newest.1 > applied && led(newest.0) => return Ok(since),
            (Some(_), _) => {}
        }
        if since > u64::try_from(PATIENCE.as_millis()).expect("some minutes") {
            return Err(Failure::new(Exit::TimedOut, "the two controllers that are left did not elect a leader"));
        }
        sleep(GLANCE).await;
    }
}

/// Waits until every guest of the victim writes again elsewhere and the log says that the recovery is finished.
async fn recovered<S: Stage>(scene: &Scene<S>, story: &Story) -> Result<(), Failure> {
    let victim = &scene.victim;
    scene.console.say("  ... waiting until every guest of the host writes again elsewhere")?;
    let what = format!("the recovery of every guest of {victim}");
    until(&what, PATIENCE, async || {
        let runs = scene.stage.runs();
        let is_back = |guest: &super::stage::Guest| {
            let runs = runs.get(&guest.instance).map(Vec::as_slice).unwrap_or_default();
            runs.iter().any(|run| run.host != *victim)
        };
        let mut lost = scene.stage.guests().iter().filter(|guest| guest.home == *victim);
        let finished = |event: &Event| matches!(event, Event::RecoveryFinished { host, .. } if host == victim);
        Ok(lost.all(is_back) && scene.remote.committed(story.fault).iter().any(|entry| finished(&entry.event)))
    })
    .await
}
