//! Hosts as the command line shows them.

use quorumfence_machine::{
    BootId, CastVote, ControllerId, Driver, Host, HostId, HostState, Power, Reason, SystemUuid, WallMillis,
};
use quorumfence_proto::{convert, pb};
use serde::Serialize;

use super::super::Failure;
use super::super::client::understood;
use super::super::output::{Printed, facts, table};
use super::{age, carried, dash, instant};

/// One host with what the answering controller knows of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super) struct HostView {
    pub(in super::super) name: HostId,
    pub(in super::super) state: &'static str,
    /// The admitted or lost boot.
    boot: Option<BootId>,
    /// The fence that it is in.
    fence: Option<u64>,
    segment: Option<String>,
    maintenance: Option<String>,
    agent_joined: bool,
    attending: bool,
    /// Whether its agent is a laboratory's.
    laboratory: bool,
    /// Whether its agent's disk does not keep what it refuses.
    cannot_refuse: bool,
    heartbeat_age_ms: Option<u64>,
    lease_left_ms: Option<u64>,
    readiness: Option<ReadinessView>,
    ping: Option<String>,
    health: Option<String>,
    levels: Vec<LevelView>,
    system_uuid: Option<SystemUuid>,
    memory_mib: Option<u64>,
    running: usize,
    votes: Vec<VoteView>,
    pub(in super::super) reasons: Vec<String>,
}

/// What the slow look at the fencing devices said.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadinessView {
    fenceable: bool,
    /// Milliseconds since 1970.
    checked_at_ms: u64,
    proven_fenceable_at_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LevelView {
    devices: Vec<DeviceView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DeviceView {
    driver: &'static str,
    address: String,
    user: String,
    suite: Option<u8>,
    identity: Option<SystemUuid>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VoteView {
    controller: u64,
    verdict: String,
    log_index: u64,
    heartbeat_age_ms: Option<u64>,
    ping_age_ms: Option<u64>,
    health_age_ms: Option<u64>,
    power: Option<&'static str>,
}

impl Printed for HostView {
    const KIND: &'static str = "Host";
}

impl HostView {
    /// Returns the view of a controller's report.
    pub(in super::super) fn of(report: pb::HostReport) -> Result<Self, Failure> {
        let host: Host = understood(carried(report.host)?)?;
        let reasons: Vec<Reason> = convert::list(report.reasons, "reasons")
            .map_err(|error| Failure::of(super::super::Exit::Failed, &error))?;
        let (boot, fence) = match host.state {
            HostState::New => (None, None),
            HostState::Up { boot } | HostState::Lost { boot, .. } => (Some(boot), None),
            HostState::Fencing { token } | HostState::Fenced { token } => (None, Some(token.0.0)),
        };
        let enrolment = host.enrolment;
        Ok(Self {
            name: host.id,
            state: state(host.state),
            boot,
            fence,
            maintenance: host.maintenance.map(|maintenance| maintenance.reason),
            agent_joined: host.agent_joined,
            attending: report.attending,
            laboratory: report.laboratory,
            cannot_refuse: host.agent.as_ref().is_some_and(|agent| agent.cannot_refuse),
            heartbeat_age_ms: report.heartbeat_age_ms,
            lease_left_ms: report.lease_left_ms,
            readiness: report.readiness.map(ReadinessView::from),
            levels: enrolment.iter().flat_map(|enrolment| &enrolment.levels).map(LevelView::of).collect(),
            segment: enrolment.as_ref().map(|enrolment| enrolment.segment.to_string()),
            ping: enrolment.as_ref().and_then(|enrolment| enrolment.ping.clone()),
            health: enrolment.and_then(|enrolment| enrolment.health),
            system_uuid: host.agent.as_ref().and_then(|agent| agent.system_uuid),
            memory_mib: host.agent.as_ref().map(|agent| agent.memory_mib),
            running: host.agent.as_ref().map_or(0, |agent| agent.running.len()),
            votes: host.votes.iter().map(|(voter, vote)| VoteView::of(*voter, vote)).collect(),
            reasons: reasons.iter().map(ToString::to_string).collect(),
        })
    }
}

impl LevelView {
    fn of(level: &quorumfence_machine::Level) -> Self {
        let devices = level.devices.iter().map(|device| DeviceView {
            driver: driver(device.driver),
            address: device.address.clone(),
            user: device.user.clone(),
            suite: device.suite,
            identity: device.identity,
        });
        Self { devices: devices.collect() }
    }
}

impl VoteView {
    fn of(voter: ControllerId, vote: &CastVote) -> Self {
        Self {
            controller: voter.0,
            verdict: vote.verdict.to_string(),
            log_index: vote.at.0,
            heartbeat_age_ms: vote.evidence.heartbeat_age.map(|age| age.0),
            ping_age_ms: vote.evidence.ping_age.map(|age| age.0),
            health_age_ms: vote.evidence.health_age.map(|age| age.0),
            power: vote.evidence.power.map(power),
        }
    }
}

/// Returns a driver's name.
pub(in super::super) fn driver(driver: Driver) -> &'static str {
    match driver {
        Driver::Ipmi => "ipmi",
        Driver::Laboratory => "laboratory",
    }
}

fn power(power: Power) -> &'static str {
    match power {
        Power::On => "on",
        Power::Off => "off",
    }
}

fn state(state: HostState) -> &'static str {
    match state {
        HostState::New => "new",
        HostState::Up { .. } => "up",
        HostState::Lost { .. } => "lost",
        HostState::Fencing { .. } => "fencing",
        HostState::Fenced { .. } => "fenced",
    }
}

/// Returns hosts as a table.
pub(in super::super) fn host_table(hosts: &[HostView]) -> String {
    let row = |host: &HostView| {
        let maintenance = host.maintenance.as_ref().map(|_| " (maintenance)").unwrap_or_default();
        vec![
            host.name.to_string(),
            format!("{}{maintenance}", host.state),
            dash(host.segment.as_ref()),
            age(host.heartbeat_age_ms),
            host.levels.len().to_string(),
            host.running.to_string(),
            dash(host.reasons.first()),
        ]
    };
    table(
        &["HOST", "STATE", "SEGMENT", "HEARTBEAT", "LEVELS", "INSTANCES", "WAITS FOR"],
        hosts.iter().map(row).collect(),
        "No host is known; 'quorumfence token create --role agent' admits one.",
    )
}

/// Returns one host with all that is known, without its votes.
pub(in super::super) fn host_facts(host: &HostView) -> String {
    let agent = match (host.agent_joined, host.attending) {
        (true, true) => "attends this controller",
        (true, false) => "joined, does not attend this controller",
        (false, _) => "not joined",
    };
    let mut lines = vec![
        ("host", host.name.to_string()),
        ("state", host.state.to_string()),
        ("boot", dash(host.boot)),
        ("fence", dash(host.fence.map(|token| format!("#{token}")))),
        ("segment", dash(host.segment.as_ref())),
        ("maintenance", dash(host.maintenance.as_ref())),
        ("agent", agent.to_string()),
        ("heartbeat age", age(host.heartbeat_age_ms)),
        ("lease left", age(host.lease_left_ms)),
        ("machine", dash(host.system_uuid)),
        ("memory", host.memory_mib.map_or_else(|| "-".into(), |mib| format!("{mib} MiB"))),
        ("ping", dash(host.ping.as_ref())),
        ("health", dash(host.health.as_ref())),
    ];
    if host.laboratory {
        let words = "YES: its agent may be held at any step, and what it runs may be simulated";
        lines.insert(0, ("laboratory", words.into()));
    }
    if host.cannot_refuse {
        let words =
            "NOT KEPT: it is given no instances, and starts that it refused stay open; look at its disk, or fence it";
        lines.push(("refusals", words.into()));
    }
    if host.levels.is_empty() {
        lines.push(("fencing", "no level: only a new boot or a person can prove this host dead".into()));
    } else {
        let words = host.readiness.as_ref().map_or_else(|| "not known yet".into(), ReadinessView::words);
        lines.push(("fenceable", words));
    }
    for level in &host.levels {
        lines.extend(level.devices.iter().map(|device| ("fencing", device.words())));
    }
    lines.extend(host.reasons.iter().map(|reason| ("waits for", reason.clone())));
    facts(&lines)
}

impl From<pb::Readiness> for ReadinessView {
    fn from(readiness: pb::Readiness) -> Self {
        Self {
            fenceable: readiness.fenceable_at_ms == Some(readiness.at_ms),
            checked_at_ms: readiness.at_ms,
            proven_fenceable_at_ms: readiness.fenceable_at_ms,
        }
    }
}

impl ReadinessView {
    fn words(&self) -> String {
        let checked = instant(WallMillis(self.checked_at_ms));
        match self.proven_fenceable_at_ms {
            Some(_) if self.fenceable => format!("yes, proven {checked}"),
            Some(at) => format!("no: no level answered {checked}; last proven {}", instant(WallMillis(at))),
            None => format!("no: no level answered {checked}, and none ever did"),
        }
    }
}

impl DeviceView {
    fn words(&self) -> String {
        let suite = dash(self.suite);
        let identity = match &self.identity {
            Some(identity) => format!("machine {identity}"),
            None => "offers no identity: that it belongs to this host rests on the operator's word".into(),
        };
        format!("{} {} as {}, cipher suite {suite}, {identity}", self.driver, self.address, self.user)
    }
}

/// Returns the votes on a host, with their evidence.
pub(in super::super) fn vote_table(host: &HostView) -> String {
    let row = |vote: &VoteView| {
        vec![
            ControllerId(vote.controller).to_string(),
            vote.verdict.clone(),
            format!("#{}", vote.log_index),
            age(vote.heartbeat_age_ms),
            age(vote.ping_age_ms),
            age(vote.health_age_ms),
            dash(vote.power),
        ]
    };
    table(
        &["VOTER", "VERDICT", "LOG", "HEARTBEAT", "PING", "HEALTH", "POWER"],
        host.votes.iter().map(row).collect(),
        "No controller has voted on this host.",
    )
}
