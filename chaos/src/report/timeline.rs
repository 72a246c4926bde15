//! From what was seen to lanes with bars and marks. Nothing here knows how they are drawn.

use std::collections::BTreeMap;

use quorumfence_machine::{ControllerId, Event, HostId, InstanceId, Millis};

use crate::observation::{Cause, Observation, Seen, Stop};

/// A run, ready to be drawn.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timeline {
    /// When the run ended.
    pub end: Millis,
    /// The lanes, top to bottom.
    pub lanes: Vec<Lane>,
    /// From a controller's lane to a BMC's.
    pub orders: Vec<Order>,
    /// When everything was healed.
    pub healed: Option<Millis>,
}

/// What one subject went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// What it is.
    pub group: Group,
    /// Which it is.
    pub name: String,
    /// What lasts.
    pub bars: Vec<Bar>,
    /// What happens.
    pub marks: Vec<Mark>,
}

/// What a lane is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Everything that the nemesis did, and the cluster's own brakes.
    Cluster,
    /// A controller.
    Controller,
    /// A host.
    Host,
    /// A host's BMC.
    Bmc,
    /// An instance.
    Instance,
}

/// A state with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// Its beginning.
    pub from: Millis,
    /// Its end.
    pub to: Millis,
    /// What it is.
    pub state: State,
    /// What stands on it.
    pub label: String,
    /// How many bars of the same lane it has to make room for.
    pub row: usize,
}

/// What lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A controller's process runs.
    Running,
    /// A host has power.
    Power,
    /// The log takes the host for lost; a fence is decided; it is proven off.
    Lost,
    /// As above.
    Fencing,
    /// As above.
    Fenced,
    /// An instance runs on the host with this number.
    On(usize),
}

/// A moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: Millis,
    /// What.
    pub kind: Kind,
    /// The observation that it is.
    pub line: usize,
    /// What it says.
    pub words: String,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The nemesis did something.
    Fault,
    /// A controller changed its verdict.
    Vote,
    /// A decision of the log: lost, fence, brake.
    Decision,
    /// An executor may act.
    Permit,
    /// An off order leaves a controller, or reaches a BMC.
    Off,
    /// Power changed.
    Power,
    /// A proof, an admission.
    Proof,
    /// An instance was ordered to start, or started.
    Start,
    /// Anything else that is worth a look.
    Other,
}

/// An off order on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// When it was sent.
    pub at: Millis,
    /// The controller's name.
    pub from: String,
    /// The host's name.
    pub to: HostId,
}

/// Arranges a run.
pub fn timeline(observations: &[Observation]) -> Timeline {
    let mut desk = Desk { end: observations.last().map_or(Millis::ZERO, |last| last.at), ..Desk::default() };
    for (line, observation) in observations.iter().enumerate() {
        desk.see(line, observation);
    }
    desk.arranged()
}

#[derive(Default)]
struct Desk {
    end: Millis,
    healed: Option<Millis>,
    /// The last entry that was told.
    told: u64,
    cluster: Track,
    controllers: BTreeMap<ControllerId, Track>,
    hosts: BTreeMap<HostId, Track>,
    /// Hosts that instances ran on, in the order in which that was seen.
    numbers: Vec<HostId>,
    bmcs: BTreeMap<HostId, Track>,
    instances: BTreeMap<InstanceId, Track>,
    names: BTreeMap<InstanceId, String>,
    orders: Vec<Order>,
}

/// A lane that grows.
#[derive(Default)]
struct Track {
    bars: Vec<Bar>,
    marks: Vec<Mark>,
    open: Vec<(Millis, State, String)>,
    /// The state in the log, of hosts.
    state: Option<(Millis, State)>,
}

impl Track {
    fn begin(&mut self, at: Millis, state: State, label: String) {
        self.open.push((at, state, label));
    }

    fn end(&mut self, at: Millis, label: &str) {
        let Some(which) = self.open.iter().position(|(_, _, open)| open == label) else { return };
        let (from, state, label) = self.open.remove(which);
        self.bars.push(Bar { from, to: at, state, label, row: 0 });
    }

    fn become_in_the_log(&mut self, at: Millis, state: Option<State>) {
        if let Some((from, state)) = self.state.take() {
            self.bars.push(Bar { from, to: at, state, label: String::new(), row: 1 });
        }
        self.state = state.map(|state| (at, state));
    }

    fn lane(mut self, group: Group, name: String, end: Millis) -> Lane {
        self.become_in_the_log(end, None);
        for (from, state, label) in std::mem::take(&mut self.open) {
            self.bars.push(Bar { from, to: end, state, label, row: 0 });
        }
        if group == Group::Instance {
            make_room(&mut self.bars);
        }
        Lane { group, name, bars: self.bars, marks: self.marks }
    }
}

/// Gives bars that overlap rows of their own.
fn make_room(bars: &mut [Bar]) {
    bars.sort_by_key(|bar| bar.from);
    let mut free: Vec<Millis> = Vec::new();
    for bar in bars {
        let row = free.iter().position(|free| *free <= bar.from).unwrap_or(free.len());
        if row == free.len() {
            free.push(Millis::ZERO);
        }
        (free[row], bar.row) = (bar.to, row);
    }
}

impl Desk {
    fn see(&mut self, line: usize, observation: &Observation) {
        let at = observation.at;
        let mark = |kind| Mark { at, kind, line, words: observation.seen.to_string() };
        match &observation.seen {
            Seen::PowerOff { host, cause } => {
                let track = self.hosts.entry(host.clone()).or_default();
                if track.open.is_empty() && track.bars.iter().all(|bar| bar.row == 1) {
                    track.begin(Millis::ZERO, State::Power, String::new());
                }
                track.end(at, "");
                track.marks.push(mark(match cause {
                    Cause::Bmc => Kind::Power,
                    Cause::Outside => Kind::Fault,
                }));
            }
            Seen::PowerOn { host, .. } => {
                let track = self.hosts.entry(host.clone()).or_default();
                track.begin(at, State::Power, String::new());
                if at > Millis::ZERO {
                    track.marks.push(mark(Kind::Power));
                }
            }
            Seen::OffTaken { host } => self.bmcs.entry(host.clone()).or_default().marks.push(mark(Kind::Off)),
            Seen::Started { instance, host, .. } => {
                let number = self.number(host);
                let track = self.instances.entry(*instance).or_default();
                track.begin(at, State::On(number), host.to_string());
                track.marks.push(mark(Kind::Start));
            }
            Seen::Ended { instance, host } => self.instances.entry(*instance).or_default().end(at, host.as_str()),
            Seen::OffSent { controller, host } => {
                self.controllers.entry(*controller).or_default().marks.push(mark(Kind::Off));
                self.bmcs.entry(host.clone()).or_default();
                self.orders.push(Order { at, from: controller.to_string(), to: host.clone() });
            }
            Seen::Applied { index, events, .. } => {
                if index.0 > self.told {
                    self.told = index.0;
                    events.iter().for_each(|event| self.tell(at, line, event));
                }
            }
            Seen::Installed { controller, .. } => {
                self.controllers.entry(*controller).or_default().marks.push(mark(Kind::Other));
            }
            Seen::Stopped { controller, why } => {
                let track = self.controllers.entry(*controller).or_default();
                track.end(at, "");
                track.marks.push(mark(match why {
                    Stop::Killed | Stop::PowerCut => Kind::Fault,
                    Stop::Itself(_) => Kind::Decision,
                }));
            }
            Seen::Running { controller, .. } => {
                let track = self.controllers.entry(*controller).or_default();
                track.end(at, "");
                track.begin(at, State::Running, String::new());
            }
            Seen::Fault { what } => self.fault(what, &mark(Kind::Fault)),
            Seen::Healed => {
                self.healed = Some(at);
                self.cluster.marks.push(mark(Kind::Other));
            }
            Seen::Opened { .. } | Seen::Called { .. } | Seen::Answered { .. } | Seen::Closed => {}
        }
    }

    /// Returns the number of a host, in the order in which hosts were seen.
    fn number(&mut self, host: &HostId) -> usize {
        self.hosts.entry(host.clone()).or_default();
        self.numbers.iter().position(|known| known == host).unwrap_or_else(|| {
            self.numbers.push(host.clone());
            self.numbers.len() - 1
        })
    }

    /// Marks a fault in the cluster's lane, and in that of the one that it names.
    fn fault(&mut self, what: &str, mark: &Mark) {
        self.cluster.marks.push(mark.clone());
        let words: Vec<&str> = what.split_whitespace().collect();
        for pair in words.windows(2) {
            if let (Some("controller" | "disk"), Some(Ok(number))) =
                (pair.first().copied(), pair.get(1).map(|word| word.parse()))
            {
                let track = self.controllers.entry(ControllerId(number)).or_default();
                return track.marks.push(mark.clone());
            }
        }
        let Some(host) = self.hosts.keys().find(|host| words.contains(&host.as_str())).cloned() else { return };
        let tracks = if words.contains(&"bmc") { &mut self.bmcs } else { &mut self.hosts };
        tracks.entry(host).or_default().marks.push(mark.clone());
    }

    /// Marks what the log says, once.
    fn tell(&mut self, at: Millis, line: usize, event: &Event) {
        let mark = |kind| Mark { at, kind, line, words: event.to_string() };
        let (host, kind, state) = match event {
            Event::VoteCast { host, .. } => (host, Kind::Vote, None),
            Event::HostLost { host, .. } => (host, Kind::Decision, Some(Some(State::Lost))),
            Event::FenceDecided { host, .. } => (host, Kind::Decision, Some(Some(State::Fencing))),
            Event::HostFenced { host, .. } => (host, Kind::Proof, Some(Some(State::Fenced))),
            Event::HostRegained { host } | Event::HostAdmitted { host, .. } => (host, Kind::Proof, Some(None)),
            Event::HostRebooted { host, .. } | Event::HostBooted { host, .. } => (host, Kind::Other, None),
            Event::FenceAttemptFailed { host, .. }
            | Event::FenceNeedsHuman { host, .. }
            | Event::StormBrakeClosed { host } => (host, Kind::Decision, None),
            Event::MaintenanceStarted { host, .. }
            | Event::MaintenanceEnded { host }
            | Event::AgentJoined { host }
            | Event::HostEnrolled { host, .. }
            | Event::RecoveryFinished { host, .. } => (host, Kind::Other, None),
            Event::PermitGranted { executor, host, .. } => {
                self.controllers.entry(*executor).or_default().marks.push(mark(Kind::Permit));
                (host, Kind::Permit, None)
            }
            Event::InstanceRegistered { instance, name, .. } => {
                self.names.insert(*instance, name.clone());
                return;
            }
            Event::InstanceMoved { instance, .. } | Event::InstanceStray { instance, .. } => {
                return self.instances.entry(*instance).or_default().marks.push(mark(Kind::Other));
            }
            Event::RecoveryPlanned { instance, .. } => {
                return self.instances.entry(*instance).or_default().marks.push(mark(Kind::Decision));
            }
            Event::StartRefused { instance, .. } | Event::InstanceStarted { instance, .. } => {
                return self.instances.entry(*instance).or_default().marks.push(mark(Kind::Start));
            }
            Event::Armed { .. }
            | Event::Disarmed { .. }
            | Event::SettingsChanged { .. }
            | Event::VotersChanged { .. } => {
                return self.cluster.marks.push(mark(Kind::Other));
            }
            Event::ClusterCreated { .. }
            | Event::JoinTokenCreated { .. }
            | Event::ControllerJoined { .. }
            | Event::SegmentCreated { .. } => return,
        };
        let track = self.hosts.entry(host.clone()).or_default();
        track.marks.push(mark(kind));
        if let Some(state) = state {
            track.become_in_the_log(at, state);
        }
    }

    fn arranged(mut self) -> Timeline {
        let end = self.end;
        let name = |id: InstanceId| self.names.get(&id).cloned().unwrap_or_else(|| id.to_string());
        let instances: Vec<(String, Track)> = self.instances.into_iter().map(|(id, track)| (name(id), track)).collect();
        let mut lanes = vec![self.cluster.lane(Group::Cluster, "faults".into(), end)];
        let controllers = self.controllers.into_iter();
        lanes.extend(controllers.map(|(id, track)| track.lane(Group::Controller, id.to_string(), end)));
        for (host, mut track) in self.hosts {
            // Nobody ever switched it: it had power all the time.
            if track.open.is_empty() && track.bars.iter().all(|bar| bar.row == 1) {
                track.begin(Millis::ZERO, State::Power, String::new());
            }
            lanes.push(track.lane(Group::Host, host.to_string(), end));
            if let Some(bmc) = self.bmcs.remove(&host) {
                lanes.push(bmc.lane(Group::Bmc, host.to_string(), end));
            }
        }
        lanes.extend(self.bmcs.into_iter().map(|(host, track)| track.lane(Group::Bmc, host.to_string(), end)));
        lanes.extend(instances.into_iter().map(|(name, track)| track.lane(Group::Instance, name, end)));
        Timeline { end, lanes, orders: self.orders, healed: self.healed }
    }
}
