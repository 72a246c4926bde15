//! What people would see and ask in a simulation, beside what the court sees.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorumfence_machine::{ControllerId, HostId, HostState, Millis, Reason};
use quorumfence_raft::{Replica, Term};

use super::Sim;
use super::environment::SimEnvironment;

/// One thing that somebody noticed or was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aside {
    /// A controller leads.
    Leads(ControllerId),
    /// A controller found that it does not lead any more.
    Resigned(ControllerId),
    /// What the leader answers when it is asked about a host.
    Explained {
        /// The host.
        host: HostId,
        /// Where it stands.
        standing: String,
        /// Why nothing more is done.
        reasons: Vec<Reason>,
    },
    /// Nobody leads, so nobody answers.
    NoAnswer,
    /// An operator's wish was refused, or nobody knows what became of it.
    Refused(String),
}

/// Asides in the order in which they happened. Clones write into the same list.
#[derive(Debug, Clone, Default)]
pub(super) struct Asides(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    told: Vec<(Millis, Aside)>,
    leads: BTreeMap<ControllerId, Term>,
}

impl Asides {
    pub(super) fn tell(&self, at: Millis, aside: Aside) {
        self.lock().told.push((at, aside));
    }

    pub(super) fn close(&self) -> Vec<(Millis, Aside)> {
        std::mem::take(&mut self.lock().told)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sim {
    /// Notes who began to lead, and who found that it does not any more.
    pub(super) fn note_leaders(&self) {
        let leads: BTreeMap<ControllerId, Term> = self.leaders().collect();
        let running = self.ids();
        let now = self.laboratory().now();
        let mut asides = self.asides.lock();
        let before = std::mem::replace(&mut asides.leads, leads.clone());
        let resigned = before.keys().filter(|id| !leads.contains_key(id) && running.contains(id));
        let begun = leads.iter().filter(|(id, term)| before.get(id) != Some(term));
        let news = resigned.map(|id| Aside::Resigned(*id)).chain(begun.map(|(id, _)| Aside::Leads(*id)));
        asides.told.extend(news.map(|aside| (now, aside)));
    }

    /// Asks the leader of the newest term about a host.
    pub(super) fn explain(&self, host: &HostId) {
        let leader = self.leaders().max_by_key(|(_, term)| *term).and_then(|(id, _)| self.ether.station(id));
        let told = leader.and_then(|station| {
            let controller = station.controller?;
            let reasons = controller.report().borrow().hosts.get(host).cloned().unwrap_or_default();
            let mut standing = standing(&station.replica, host);
            let looked = controller.sight(host).readiness;
            if looked.is_some_and(|looked| looked.fenceable_at != Some(looked.at)) {
                standing.push_str(", not fenceable when its devices were asked last");
            }
            Some(Aside::Explained { host: host.clone(), standing, reasons })
        });
        self.asides.tell(self.laboratory().now(), told.unwrap_or(Aside::NoAnswer));
    }

    fn leaders(&self) -> impl Iterator<Item = (ControllerId, Term)> {
        self.ids().into_iter().filter_map(|id| {
            let station = self.ether.station(id)?;
            let term = station.replica.leadership().borrow().lead_term?;
            Some((id, term))
        })
    }
}

fn standing(replica: &Replica<SimEnvironment>, host: &HostId) -> String {
    replica.read(|state| {
        let Some(row) = state.host(host) else { return "not known".into() };
        let maintenance = if row.maintenance.is_some() { ", in maintenance" } else { "" };
        let standing = match row.state {
            HostState::New => "new".into(),
            HostState::Up { .. } => "up".into(),
            HostState::Lost { .. } => "lost".into(),
            HostState::Fencing { token } => format!("being fenced, token {token}"),
            HostState::Fenced { token } => format!("fenced, token {token}"),
        };
        standing + maintenance
    })
}
