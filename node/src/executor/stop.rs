//! One stop order for a stray copy. No result enters the log: the agent's next report shows that the copy is gone.

use std::sync::Arc;
use std::time::Duration;

use quorumfence_machine::{Action, Order, StopWork};
use quorumfence_raft::{Point, Runtime};

use super::start;
use crate::controller::Shared;
use crate::environment::Environment;

/// Time for the agent's report after its answer. The order is sent again when the copy is still reported then.
const REPORT_WAIT: Duration = Duration::from_secs(10);

/// Orders a stop until the agent answers.
pub(crate) async fn run<E: Environment>(shared: Arc<Shared<E>>, work: StopWork) {
    let StopWork { token, instance, host, boot } = work;
    let order = Order { token, instance, boot, action: Action::Stop };
    E::pass(Point::StopBeforeOrder).await;
    let outcome = start::ask(&shared, &host, &order).await;
    tracing::info!(%host, %instance, %token, ?outcome, "a stray copy was ordered to stop");
    E::Runtime::sleep(REPORT_WAIT).await;
}
