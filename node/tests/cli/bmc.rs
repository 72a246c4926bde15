//! A BMC on loopback: OpenIPMI's `ipmi_sim`, whose power is a file.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const EMULATION: &str = "mc_setbmc 0x20\n\
                         mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                         sel_enable 0x20 1000 0x0a\n\
                         mc_enable 0x20\n";

/// Says on, always: nothing here may switch.
const CHASSIS: &str = "#!/bin/sh\nfor word in \"$@\"; do case $word in get) echo power:1;; esac; done\n";

/// A BMC that knows user `admin` with password `s3cret`.
pub(crate) struct Bmc {
    process: Child,
    pub(crate) address: String,
}

impl Bmc {
    /// Starts a BMC whose machine has the UUID, at a free port.
    pub(crate) fn start(directory: &Path, guid: &str) -> Self {
        let port = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        Self::start_at(&port.to_string(), directory, guid)
    }

    /// The same, at an address that another BMC left.
    pub(crate) fn start_at(address: &str, directory: &Path, guid: &str) -> Self {
        std::fs::create_dir_all(directory.join("state")).expect("a directory");
        Self { process: serve(directory, address, guid), address: address.into() }
    }
}

fn serve(directory: &Path, address: &str, guid: &str) -> Child {
    let (ip, port) = address.rsplit_once(':').expect("an address and a port");
    let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).expect("it can be written");
    write("chassis.sh", CHASSIS);
    write("sim.emu", EMULATION);
    write(
        "lan.conf",
        &format!(
            "name \"bmc\"\nset_working_mc 0x20\nstartlan 1\n addr {ip} {port}\n priv_limit admin\n\
             allowed_auths_callback none md2 md5 straight\n allowed_auths_user none md2 md5 straight\n\
             allowed_auths_operator none md2 md5 straight\n allowed_auths_admin none md2 md5 straight\n guid {}\nendlan\n\
             chassis_control \"sh {}\"\n\
             user 1 true \"\" \"\" user 10 none md2 md5 straight\n\
             user 2 true \"admin\" \"s3cret\" admin 10 none md2 md5 straight\n",
            guid.replace('-', ""),
            directory.join("chassis.sh").display(),
        ),
    );
    Command::new("ipmi_sim")
        .current_dir(directory)
        .args(["-c", "lan.conf", "-f", "sim.emu", "-s", "state", "-n"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("ipmi_sim is installed (Debian package openipmi)")
}

impl Drop for Bmc {
    fn drop(&mut self) {
        self.process.kill().expect("it was started");
        self.process.wait().expect("a killed process ends");
    }
}
