//! `quorumfence fence test`

use quorumfence_machine::{Driver, HostId, Outcome, Power, SystemUuid};
use quorumfence_proto::{convert, pb};
use serde::Serialize;

use super::super::super::client::understood;
use super::super::super::output::{self, Printed, table};
use super::super::super::view::host::driver;
use super::super::super::view::{age, carried, dash};
use super::super::super::{Exit, Failure, Globals};

/// Arguments of `fence test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host.
    host: HostId,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tested {
    level: usize,
    driver: &'static str,
    address: String,
    /// Whether the device answered with a power state, and for the right machine.
    fenceable: bool,
    answer: String,
    identity: Option<SystemUuid>,
    suite: Option<u32>,
    took_ms: u64,
}

impl Printed for Tested {
    const KIND: &'static str = "FenceTest";
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let mut client = globals.client()?;
    let request = pb::HostRequest { host: args.host.to_string(), local: false };
    let reply = client.read(request, |mut client, request| async move { client.fence_test(request).await }).await?;
    let mut tests = Vec::new();
    for (level, devices) in reply.levels.into_iter().enumerate() {
        for device in devices.devices {
            tests.push(tested(level + 1, device)?);
        }
    }
    output::print(globals.output, &tests, text)?;
    let is_whole = |level: usize| tests.iter().filter(|test| test.level == level).all(|test| test.fenceable);
    if tests.iter().any(|test| is_whole(test.level)) {
        return Ok(());
    }
    let message = match tests.len() {
        0 => format!("host {} has no fencing level, so only a new boot or a person can prove it dead", args.host),
        _ => format!(
            "no fencing level of host {} answers as a whole, so it cannot be fenced now; see the answers above",
            args.host
        ),
    };
    Err(Failure::new(Exit::Held, message))
}

fn tested(level: usize, device: pb::DeviceTest) -> Result<Tested, Failure> {
    let odd = |error: convert::Error| Failure::of(Exit::Failed, &error);
    let power: Outcome<Power> = understood(carried(device.power)?)?;
    let kind: Driver = convert::number::<pb::Driver, _>(device.driver, "driver").map_err(odd)?;
    let identity = device.identity.map(|identity| convert::uuid(identity, "identity")).transpose().map_err(odd)?;
    Ok(Tested {
        level,
        driver: driver(kind),
        address: device.address,
        fenceable: matches!(power, Outcome::Observed(_)),
        answer: match power {
            Outcome::Observed(power) => format!("power is {power}"),
            Outcome::Refused(refusal) => format!("refused: {refusal}"),
            Outcome::Unknown(doubt) => format!("unknown: {doubt}"),
        },
        identity: identity.map(SystemUuid),
        suite: device.suite,
        took_ms: device.took_ms,
    })
}

fn text(tests: &[Tested]) -> String {
    let row = |test: &Tested| {
        vec![
            test.level.to_string(),
            test.driver.to_string(),
            test.address.clone(),
            test.answer.clone(),
            dash(test.identity),
            dash(test.suite),
            age(Some(test.took_ms)),
        ]
    };
    table(
        &["LEVEL", "DRIVER", "ADDRESS", "ANSWER", "MACHINE", "SUITE", "TOOK"],
        tests.iter().map(row).collect(),
        "No fencing device is enrolled.",
    )
}
