//! What orders need from outside: the log's word on who holds an instance, and the hypervisor.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, stream};
use quorumfence_drivers::order::{Hypervisor, StartOrder};
use quorumfence_machine::{Action, Doubt, Holding, Input, InstanceId, InstanceState, Order, Outcome};
use quorumfence_raft::{Peer, Point, Runtime};
use tokio::sync::mpsc;

use super::Shared;
use crate::environment::{AgentEnvironment, Link};

/// Jobs at once. The hypervisor limits itself further; questions to controllers are cheap.
const AT_ONCE_MAX: usize = 16;

/// One controller's time to ask the quorum.
const HOLDER_DEADLINE: Duration = Duration::from_millis(2000);

/// The hypervisor's time for one start or stop.
const CARRY_DEADLINE: Duration = Duration::from_secs(30);

/// How much later than its deadline a driver is given up.
const GRACE: Duration = Duration::from_millis(500);

/// Something to do outside for an order.
#[derive(Debug)]
pub(super) enum Job {
    /// Ask who holds an instance.
    Ask { instance: InstanceId },
    /// Have the hypervisor carry an order out.
    Carry { order: Order },
}

/// Does jobs until the agent stops.
pub(super) async fn run<E: AgentEnvironment>(shared: Arc<Shared<E>>, jobs: mpsc::Receiver<Job>) {
    let stop = shared.stop.clone();
    let jobs = stream::unfold(jobs, |mut jobs| async move { jobs.recv().await.map(|job| (job, jobs)) });
    let all = jobs.for_each_concurrent(AT_ONCE_MAX, |job| {
        let shared = Arc::clone(&shared);
        async move {
            let input = match job {
                Job::Ask { instance } => {
                    E::pass(Point::AgentBeforeHolder).await;
                    let holding = ask(&shared, instance).await;
                    E::pass(Point::AgentAfterHolder).await;
                    Input::Holder { instance, holding }
                }
                Job::Carry { order } => {
                    let (instance, token) = (order.instance, order.token);
                    Input::Hypervisor { instance, token, outcome: carry(&shared, order).await }
                }
            };
            shared.handle(input);
        }
    });
    tokio::select! {
        biased;
        () = stop.stopped() => {}
        () = all.boxed() => {}
    }
}

/// Asks one controller after the other until a quorum answers through one of them.
async fn ask<E: AgentEnvironment>(shared: &Shared<E>, instance: InstanceId) -> Outcome<Holding> {
    let known = Arc::clone(&shared.controllers.borrow());
    let acknowledged = |peer: &Peer| shared.outbound().get(&peer.id).is_some_and(|line| line.is_acknowledged);
    let (near, far): (Vec<&Peer>, Vec<&Peer>) = known.peers.iter().partition(|peer| acknowledged(peer));
    for peer in near.into_iter().chain(far) {
        match shared.link.holder(peer, instance, HOLDER_DEADLINE).await {
            answer @ Outcome::Observed(_) => return answer,
            Outcome::Refused(refusal) => {
                tracing::warn!(host = %shared.host, controller = %peer, %refusal, "a controller refused to say who holds an instance");
            }
            Outcome::Unknown(doubt) => tracing::debug!(controller = %peer, %doubt, "no quorum answered"),
        }
    }
    Outcome::Unknown(Doubt::Unreachable)
}

async fn carry<E: AgentEnvironment>(shared: &Shared<E>, order: Order) -> Outcome<InstanceState> {
    let Order { token, instance, boot: _, action } = order;
    let hypervisor = &shared.hypervisor;
    let (before, after) = match &action {
        Action::Start { .. } => (Point::AgentBeforeStart, Point::AgentAfterStart),
        Action::Stop => (Point::AgentBeforeStop, Point::AgentAfterStop),
    };
    let carried = async {
        match action {
            Action::Start { definition } => {
                hypervisor.start(StartOrder { instance, definition, token }, CARRY_DEADLINE).await
            }
            Action::Stop => hypervisor.stop(instance, CARRY_DEADLINE).await,
        }
    };
    E::pass(before).await;
    let carried = E::Runtime::timeout(CARRY_DEADLINE + GRACE, carried).await;
    E::pass(after).await;
    carried.unwrap_or(Outcome::Unknown(Doubt::Timeout))
}
