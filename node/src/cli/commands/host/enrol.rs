//! `quorumfence host enrol`

use std::io::Read;
use std::path::{Path, PathBuf};

use quorumfence_machine::{HostId, SegmentId};
use quorumfence_proto::pb;

use super::super::super::client::mutation;
use super::super::super::view::print_change;
use super::super::super::{Exit, Failure, Globals};
use super::wait_until;
use crate::config::check_address;

/// The port of IPMI over LAN.
const BMC_PORT: u16 = 623;

/// No password file is larger: IPMI has room for 20 bytes, and some files end in a line break.
const PASSWORD_FILE_BYTES_MAX: u64 = 64;

/// Arguments of `host enrol`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The host; its agent must have joined under this name.
    host: HostId,
    /// The segment that it belongs to.
    #[arg(long, value_name = "SEGMENT")]
    segment: SegmentId,
    /// An address to ping; without one, pings are no evidence.
    #[arg(long, value_name = "ADDRESS")]
    ping: Option<String>,
    /// A health endpoint, http://host:port/path or tcp://host:port; without one, it is no evidence.
    #[arg(long, value_name = "URL")]
    health: Option<String>,
    /// The host's BMC; give it again for a second fencing level, which is tried when the first cannot prove.
    #[arg(long, value_name = "ADDRESS[:623]", requires_all = ["user", "password_file"])]
    bmc: Vec<String>,
    /// The BMC's account; one for all, or one for each --bmc.
    #[arg(long, value_name = "USER", requires = "bmc")]
    user: Vec<String>,
    /// A file with the account's password, or - for standard input; one for all, or one for each --bmc.
    #[arg(long, value_name = "FILE", requires = "bmc")]
    password_file: Vec<PathBuf>,
    /// Wait until the host is admitted, at most for --timeout.
    #[arg(long)]
    wait: bool,
}

pub(super) async fn run(args: Args, globals: &Globals) -> Result<(), Failure> {
    let levels = levels(&args)?;
    let count = levels.len();
    let request = pb::HostEnrolRequest {
        mutation: Some(mutation("")),
        host: args.host.to_string(),
        segment: args.segment.to_string(),
        ping: args.ping,
        health: args.health,
        levels,
    };
    let mut client = globals.client()?;
    let reply = client.change(request, |mut client, request| async move { client.host_enrol(request).await }).await?;
    if args.wait {
        wait_until(&mut client, &args.host, "up").await?;
    }
    let message = match count {
        0 => format!(
            "host {} enrolled without a fencing level: only a new boot or a person can prove it dead",
            args.host
        ),
        count => format!("host {} enrolled with {count} fencing level(s); its BMC answered", args.host),
    };
    print_change(globals.output, reply.at, message)
}

fn levels(args: &Args) -> Result<Vec<pb::ClearLevel>, Failure> {
    let users = one_each("--user", &args.user, args.bmc.len())?;
    let files = one_each("--password-file", &args.password_file, args.bmc.len())?;
    let mut levels = Vec::with_capacity(args.bmc.len());
    for (bmc, (user, file)) in args.bmc.iter().zip(users.into_iter().zip(files)) {
        let device = pb::ClearDevice {
            driver: pb::Driver::Ipmi.into(),
            address: address(bmc)?,
            user: user.clone(),
            password: password(file)?,
        };
        levels.push(pb::ClearLevel { devices: vec![device] });
    }
    Ok(levels)
}

fn one_each<'a, T>(name: &str, values: &'a [T], count: usize) -> Result<Vec<&'a T>, Failure> {
    match values {
        [one] => Ok(vec![one; count]),
        values if values.len() == count => Ok(values.iter().collect()),
        values => {
            let message =
                format!("{} times {name} for {count} times --bmc; give one for all or one for each", values.len());
            Err(Failure::new(Exit::Usage, message))
        }
    }
}

fn address(bmc: &str) -> Result<String, Failure> {
    let bare_v6 = bmc.parse::<std::net::Ipv6Addr>().is_ok();
    let address = if bare_v6 {
        format!("[{bmc}]:{BMC_PORT}")
    } else if bmc.contains(':') && !bmc.ends_with(']') {
        bmc.to_string()
    } else {
        format!("{bmc}:{BMC_PORT}")
    };
    check_address("--bmc", &address).map_err(|message| Failure::new(Exit::Usage, message))?;
    Ok(address)
}

/// Reads a password from a file, never from the arguments, which every process on this machine can read.
fn password(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(PASSWORD_FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(PASSWORD_FILE_BYTES_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot read the password in {}", file.display())).because(Some(&error))
    })?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(Failure::new(Exit::Usage, format!("{} holds no password", file.display())));
    }
    Ok(password.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bmc_has_the_ipmi_port_unless_it_names_another() {
        let check = |text: &str, expect: &str| assert_eq!(address(text).as_deref(), Ok(expect), "{text}");
        check("192.0.2.1", "192.0.2.1:623");
        check("192.0.2.1:6230", "192.0.2.1:6230");
        check("bmc.example", "bmc.example:623");
        check("2001:db8::1", "[2001:db8::1]:623");
        check("[2001:db8::1]", "[2001:db8::1]:623");
        check("[2001:db8::1]:6230", "[2001:db8::1]:6230");
        assert_eq!(address("bmc:port").expect_err("no port").exit, Exit::Usage);
    }
}
