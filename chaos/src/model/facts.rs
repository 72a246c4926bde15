//! What the model asks of one state of the machine, taken from it once.

use std::collections::BTreeSet;

use quorumfence_machine::{
    ClusterTime, ControllerId, Fence, HostId, HostState, LogIndex, ProofClass, Stage, State, Token, Verdict, Work,
};

use super::world::{Boot, HostNumber, INSTANCE};

/// What the model asks of one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The hosts.
    pub hosts: Vec<HostFacts>,
    /// The instance's owner.
    pub owner: HostNumber,
    /// The decision that gave it to its owner.
    pub owned_under: Token,
    /// The assignment in flight.
    pub assigned: Option<Assigned>,
    /// The host and boot that the instance's recovery rests on having died.
    pub rests_on: Option<(HostNumber, Boot)>,
    /// The fences to carry out.
    pub fence_work: Vec<FenceOf>,
    /// The start to carry out.
    pub start_work: Option<Assigned>,
    /// Every permit with the moment at which it has ended for sure.
    pub permits: Vec<(LogIndex, ClusterTime)>,
    /// Fences that were proven, by host.
    pub proven: Vec<(HostNumber, ProofClass)>,
    /// Who was ever granted a permit.
    pub permit_holders: BTreeSet<ControllerId>,
    /// Whether the state contradicts itself.
    pub is_flawed: bool,
}

/// One host in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostFacts {
    /// Between admission and fence.
    pub standing: Standing,
    /// The boot and whether the instance runs, as its agent said last.
    pub reported: Option<(Boot, bool)>,
    /// The boot that all controllers hear.
    pub heard: Option<Boot>,
    /// Whether all controllers condemn it.
    pub condemned: bool,
}

/// Where a host is between admission and fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Never admitted.
    New,
    /// Admitted.
    Up(Boot),
    /// A majority sees it dead.
    Lost(Boot),
    /// A fence of this boot is decided.
    Fencing(Token, Boot),
    /// The fence is proven.
    Fenced(Token, Boot),
}

/// An assignment of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Assigned {
    /// Its token.
    pub token: Token,
    /// The target.
    pub host: HostNumber,
    /// The target's boot.
    pub boot: Boot,
}

/// A fence to carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FenceOf {
    /// Its token.
    pub token: Token,
    /// The host.
    pub host: HostNumber,
    /// The level.
    pub level: u8,
    /// Its newest permit.
    pub permit: Option<LogIndex>,
}

impl Facts {
    pub(super) fn of(state: &State) -> Self {
        let instance = state.instance(&INSTANCE).expect("the instance was registered at the founding");
        let assigned = instance.assignment().map(|row| Assigned {
            token: row.token,
            host: HostNumber::of(&row.host),
            boot: Boot::of(row.boot),
        });
        let rests_on = instance.recovery.as_ref().and_then(|recovery| state.fence(&recovery.fence)).map(fenced);
        let (mut fence_work, mut start_work) = (Vec::new(), None);
        for work in state.work() {
            match work {
                Work::Fence(work) => {
                    fence_work.push(FenceOf {
                        token: work.token,
                        host: HostNumber::of(&work.host),
                        level: work.level,
                        permit: state.fence(&work.token).and_then(|fence| Some(fence.permits.last()?.at)),
                    });
                }
                Work::Start(work) => {
                    let (host, boot) = (HostNumber::of(&work.host), Boot::of(work.boot));
                    start_work = Some(Assigned { token: work.token, host, boot });
                }
                // Without autostart there is no stray copy.
                Work::Stop(_) => {}
            }
        }
        let permits = state.fences().flat_map(|fence| &fence.permits).map(|permit| (permit.at, permit.ends)).collect();
        let proven = state.fences().filter_map(|fence| Some((fenced(fence).0, proof(fence)?))).collect();
        Self {
            hosts: state.hosts().map(|host| host_facts(state, &host.id)).collect(),
            owner: HostNumber::of(&instance.owner),
            owned_under: instance.token,
            assigned,
            rests_on,
            fence_work,
            start_work,
            permits,
            proven,
            permit_holders: state.fences().flat_map(|fence| &fence.permits).map(|permit| permit.executor).collect(),
            is_flawed: !state.check().is_empty(),
        }
    }

    /// Returns a host.
    pub(super) fn host(&self, host: HostNumber) -> &HostFacts {
        &self.hosts[usize::from(host.0)]
    }
}

impl Standing {
    /// Returns the fence that the host is in, decided or proven.
    pub(super) fn token(self) -> Option<Token> {
        match self {
            Self::Fencing(token, _) | Self::Fenced(token, _) => Some(token),
            Self::New | Self::Up(_) | Self::Lost(_) => None,
        }
    }
}

fn host_facts(state: &State, id: &HostId) -> HostFacts {
    let host = state.host(id).expect("this host was listed");
    let boot_of = |token: Token| state.fence(&token).map_or(Boot(0), |fence| fenced(fence).1);
    let standing = match host.state {
        HostState::New => Standing::New,
        HostState::Up { boot } => Standing::Up(Boot::of(boot)),
        HostState::Lost { boot, .. } => Standing::Lost(Boot::of(boot)),
        HostState::Fencing { token } => Standing::Fencing(token, boot_of(token)),
        HostState::Fenced { token } => Standing::Fenced(token, boot_of(token)),
    };
    let voters = state.cluster().map_or(0, |cluster| cluster.voters.len());
    let heard = host.agent.as_ref().map(|agent| agent.boot).filter(|boot| {
        let alive = Verdict::Alive { boot: *boot };
        host.votes.len() == voters && host.votes.values().all(|vote| vote.verdict == alive)
    });
    HostFacts {
        standing,
        reported: host.agent.as_ref().map(|agent| (Boot::of(agent.boot), agent.running.contains(&INSTANCE))),
        heard: heard.map(Boot::of),
        condemned: host.votes.len() == voters && host.votes.values().all(|vote| vote.verdict.condemns()),
    }
}

fn fenced(fence: &Fence) -> (HostNumber, Boot) {
    let boot = fence.boot.expect("every host of the model was admitted, so its fences name a boot");
    (HostNumber::of(&fence.host), Boot::of(boot))
}

fn proof(fence: &Fence) -> Option<ProofClass> {
    match &fence.stage {
        Stage::Proven { proof, .. } => Some(proof.class()),
        Stage::Working | Stage::NeedsHuman => None,
    }
}
