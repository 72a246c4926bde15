//! The system calls of the switch: namespaces, TAP devices and their addresses, waiting for frames.

#![expect(
    unsafe_code,
    reason = "nothing in the workspace wraps these calls, and a wrapper would be larger than they are"
)]

use std::ffi::{c_char, c_int, c_short};
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use super::Device;

type Choice = libc::__c_anonymous_ifr_ifru;

/// Gives the calling thread a network namespace of its own.
pub(super) fn unshare_network() -> io::Result<()> {
    // SAFETY: takes no pointer, and changes only the calling thread.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Moves the calling thread into a network namespace.
pub(super) fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointer, and the descriptor is open.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Makes a TAP device in the calling thread's namespace. It ends with the file that is returned.
pub(super) fn tap(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    request(&file, libc::TUNSETIFF, name, Choice { ifru_flags: flags(libc::IFF_TAP | libc::IFF_NO_PI) })?;
    Ok(file)
}

/// Gives a device its addresses and brings it up.
pub(super) fn configure(device: &Device<'_>) -> io::Result<()> {
    let socket = any_socket()?;
    let mask = u32::MAX.checked_shl(32 - u32::from(device.prefix_length)).unwrap_or(0);
    let hardware = {
        let mut data = [0; 14];
        data[..6].copy_from_slice(&device.mac().map(u8::cast_signed));
        libc::sockaddr { sa_family: libc::ARPHRD_ETHER, sa_data: data }
    };
    request(&socket, libc::SIOCSIFHWADDR, device.name, Choice { ifru_hwaddr: hardware })?;
    request(&socket, libc::SIOCSIFADDR, device.name, Choice { ifru_addr: internet(device.address) })?;
    request(&socket, libc::SIOCSIFNETMASK, device.name, Choice { ifru_netmask: internet(mask.into()) })?;
    bring_up(device.name)
}

/// Brings a device up.
pub(super) fn bring_up(name: &str) -> io::Result<()> {
    let up = flags(libc::IFF_UP | libc::IFF_RUNNING);
    request(&any_socket()?, libc::SIOCSIFFLAGS, name, Choice { ifru_flags: up })
}

/// Waits until one of the files can be read, or has failed, or the time is over; returns which.
pub(super) fn wait_readable(files: &[BorrowedFd<'_>], longest: Option<Duration>) -> io::Result<Vec<bool>> {
    let waits = |file: &BorrowedFd<'_>| libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut polled: Vec<libc::pollfd> = files.iter().map(waits).collect();
    let longest = longest.map(|time| libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    let longest = longest.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let count = libc::nfds_t::try_from(polled.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptors are borrowed, so open; the array and the time outlive the call; no signal mask is given.
    let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), count, longest, std::ptr::null()) };
    match checked(ready) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(vec![false; files.len()]),
        Err(error) => Err(error),
        Ok(()) => Ok(polled.iter().map(|file| file.revents != 0).collect()),
    }
}

/// Returns a socket to name devices of the calling thread's namespace to.
fn any_socket() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
}

fn request(file: &impl AsRawFd, what: libc::Ioctl, device: &str, choice: Choice) -> io::Result<()> {
    let mut name: [c_char; libc::IFNAMSIZ] = [0; libc::IFNAMSIZ];
    if device.len() >= name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the device name '{device}' is too long")));
    }
    for (to, from) in name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    let request = libc::ifreq { ifr_name: name, ifr_ifru: choice };
    // SAFETY: each request of this module reads one ifreq, which outlives the call.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), what, &raw const request) })
}

fn internet(address: Ipv4Addr) -> libc::sockaddr {
    // The port stands before the address, and is none.
    let mut data = [0; 14];
    data[2..6].copy_from_slice(&address.octets().map(u8::cast_signed));
    libc::sockaddr { sa_family: family(libc::AF_INET), sa_data: data }
}

fn family(number: c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).expect("a family is a small number")
}

fn flags(flags: c_int) -> c_short {
    c_short::try_from(flags).expect("these flags fit")
}

fn checked(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
