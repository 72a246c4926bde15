//! One start order: sent until the target's agent answers, then the answer enters the log.

use std::sync::Arc;
use std::time::Duration;

use quorumfence_machine::{Action, Change, Event, HostId, InstanceState, Order, Outcome, StartWork};
use quorumfence_raft::{Clock, Point, Runtime};
use tokio::sync::mpsc;

use crate::controller::{Kind, Question, Shared};
use crate::environment::Environment;
use crate::leader;

/// An order without an answer is sent again after this long.
const RESEND: Duration = Duration::from_millis(1000);

/// While the agent does not attend, its stream is looked for this often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Carries out one assignment.
pub(crate) async fn run<E: Environment>(shared: Arc<Shared<E>>, work: StartWork) {
    let StartWork { token, instance, host, boot, definition } = work;
    let order = Order { token, instance, boot, action: Action::Start { definition } };
    E::pass(Point::StartBeforeOrder).await;
    let outcome = ask(&shared, &host, &order).await;
    E::pass(Point::StartBeforeResult).await;
    shared.note(&host, Some(token), Kind::StartAnswered { instance, to: host.clone(), outcome: outcome.clone() });
    leader::report_result(&shared, Change::RecoveryResult { instance, token, outcome }).await;
}

/// Sends an order until the agent's answer is one: an unknown outcome is asked for again.
pub(super) async fn ask<E: Environment>(
    shared: &Arc<Shared<E>>,
    host: &HostId,
    order: &Order,
) -> Outcome<InstanceState> {
    let mut answers = Waiting::begin(shared, host, order);
    let mut is_noted = false;
    loop {
        if !shared.order(host, order.clone()) {
            E::Runtime::sleep(LOOK_AGAIN).await;
            continue;
        }
        if !is_noted {
            note_order(shared, host, order);
            is_noted = true;
        }
        let answer = E::Runtime::timeout(RESEND, answers.next()).await;
        match answer {
            Ok(outcome @ (Outcome::Observed(_) | Outcome::Refused(_))) => return outcome,
            Ok(Outcome::Unknown(doubt)) => {
                tracing::info!(%host, instance = %order.instance, token = %order.token, %doubt, "the agent does not know the outcome; the order is sent again");
                E::Runtime::sleep(RESEND).await;
            }
            Err(_) => {}
        }
    }
}

fn note_order<E: Environment>(shared: &Shared<E>, host: &HostId, order: &Order) {
    let Order { token, instance, action, .. } = order;
    match action {
        Action::Start { .. } => {}
        Action::Stop => return,
    }
    tracing::info!(%host, %instance, %token, "start ordered");
    let owner = shared.replica.read(|state| state.instance(instance).map(|row| row.owner.clone()));
    let owner = owner.unwrap_or_else(|| host.clone());
    let proof = shared.moments.committed_at(&owner, |event| matches!(event, Event::HostFenced { .. }));
    let since_proof = proof.map(|proof| shared.clock.now() - proof);
    shared.note(&owner, Some(*token), Kind::StartOrdered { instance: *instance, to: host.clone(), since_proof });
}

/// A place in the list of those who wait for an answer. It is left when dropped.
struct Waiting<E: Environment> {
    shared: Arc<Shared<E>>,
    question: Question,
    sender: mpsc::Sender<Outcome<InstanceState>>,
    answers: mpsc::Receiver<Outcome<InstanceState>>,
}

impl<E: Environment> Waiting<E> {
    fn begin(shared: &Arc<Shared<E>>, host: &HostId, order: &Order) -> Self {
        let question = Question { host: host.clone(), instance: order.instance, token: order.token };
        let (sender, answers) = mpsc::channel(1);
        shared.board().waiting.insert(question.clone(), sender.clone());
        Self { shared: Arc::clone(shared), question, sender, answers }
    }

    async fn next(&mut self) -> Outcome<InstanceState> {
        self.answers.recv().await.expect("this place holds a sender")
    }
}

impl<E: Environment> Drop for Waiting<E> {
    fn drop(&mut self) {
        let mut board = self.shared.board();
        let is_mine = board.waiting.get(&self.question).is_some_and(|sender| sender.same_channel(&self.sender));
        if is_mine {
            board.waiting.remove(&self.question);
        }
    }
}
