//! Who leads, and the cluster's clock that a leader continues.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{Instant, RaftMetrics, ServerState};
use quorumfence_machine::{ClusterTime, ControllerId, Millis};
use tokio::sync::watch;

use super::state_machine::Shared;
use crate::types::TypeConfig;
use crate::{Clock, Options, Peer, Runtime, Term};

/// Who leads, as far as this node knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The leader; `None` while none is known.
    pub leader: Option<Peer>,
    /// The term that this node leads.
    ///
    /// `Some` only while it has applied everything of earlier terms and a quorum answered within a lease. Even then it
    /// is a hint: what gates an action is a committed entry or a read index.
    pub lead_term: Option<Term>,
}

/// Turns openraft's metrics into [`Leadership`]; ends with openraft.
pub(super) struct Publisher<R: Runtime, C> {
    pub(super) me: u64,
    pub(super) metrics: WatchReceiverOf<TypeConfig<R>, RaftMetrics<TypeConfig<R>>>,
    pub(super) options: Arc<Options>,
    pub(super) shared: Arc<Shared>,
    pub(super) cluster_clock: Arc<ClusterClock<C>>,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) ended: watch::Sender<Option<String>>,
}

impl<R: Runtime, C: Clock> Publisher<R, C> {
    pub(super) async fn run(self) {
        let mut watched = self.metrics.clone();
        let why = loop {
            let (leadership, running) = {
                let metrics = watched.borrow_and_update();
                (self.leadership(&metrics), metrics.running_state.clone())
            };
            self.publish(leadership);
            if let Err(fatal) = running {
                break fatal.to_string();
            }
            // A quorum is lost by silence, which changes no metric: look again after a heartbeat's time.
            let pause = R::sleep(self.options.heartbeat.into());
            if let openraft_rt::Select2::First(Err(_)) = R::select2(watched.changed(), pause).await {
                break "consensus ended".into();
            }
        };
        self.publish(Leadership::default());
        self.ended.send_replace(Some(why));
    }

    fn publish(&self, leadership: Leadership) {
        if let Some(term) = leadership.lead_term {
            // Continues the clock from the moment of election rather than from the first proposal.
            self.cluster_clock.read(term, &self.shared);
        }
        self.leadership.send_if_modified(|known| {
            let changed = *known != leadership;
            if changed {
                if leadership.lead_term != known.lead_term {
                    tracing::info!(node = self.me, term = ?leadership.lead_term.map(|term| term.0), "leadership changed");
                }
                *known = leadership;
            }
            changed
        });
    }

    fn leadership(&self, metrics: &RaftMetrics<TypeConfig<R>>) -> Leadership {
        let membership = metrics.membership_config.membership();
        let leader = metrics.current_leader.and_then(|id| {
            membership.get_node(&id).map(|node| Peer { id: ControllerId(id), address: node.addr.clone() })
        });
        let own_term_applied =
            metrics.last_applied.as_ref().is_some_and(|applied| *applied.leader_id == metrics.current_term);
        let leads = metrics.state == ServerState::Leader
            && metrics.current_leader == Some(self.me)
            && own_term_applied
            && has_quorum(metrics, self.options.election_max.into());
        Leadership { leader, lead_term: leads.then_some(Term(metrics.current_term)) }
    }
}

fn has_quorum<R: Runtime>(metrics: &RaftMetrics<TypeConfig<R>>, lease: Duration) -> bool {
    // A single voter is its own quorum, and openraft does not count its silence.
    let alone = metrics.membership_config.voter_ids().count() == 1;
    alone || metrics.last_quorum_acked.is_some_and(|acked| acked.elapsed() < lease)
}

/// Continues the cluster's clock on a leader: the highest applied value plus what its own clock counted since.
#[derive(Debug)]
pub(super) struct ClusterClock<C> {
    clock: C,
    base: Mutex<Option<Base>>,
}

#[derive(Debug, Clone, Copy)]
struct Base {
    term: Term,
    value: ClusterTime,
    since: Millis,
}

impl<C: Clock> ClusterClock<C> {
    pub(super) fn new(clock: C) -> Self {
        Self { clock, base: Mutex::new(None) }
    }

    /// Returns the cluster's time for the leader of this term.
    pub(super) fn read(&self, term: Term, shared: &Shared) -> ClusterTime {
        let applied = shared.read(|state| state.cluster().map_or(ClusterTime::default(), |cluster| cluster.clock));
        let now = self.clock.now();
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        let continued = base
            .filter(|base| base.term == term)
            .map(|base| base.value.after(now - base.since))
            .filter(|continued| *continued >= applied);
        continued.unwrap_or_else(|| {
            *base = Some(Base { term, value: applied, since: now });
            applied
        })
    }
}
