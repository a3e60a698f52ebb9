//! Beds: hosts, and what wires them.
//!
//! Set up by `ip -batch` and not by a netlink library: the crates that know links, addresses and
//! namespaces are asynchronous and bring an executor with them, while `ip` is on every Linux machine,
//! takes all of a host's set-up in one process, and each line can be repeated by hand.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::host::{HOSTS_MAX, Host, Namespace};
use super::names::Names;
use super::switch::Switch;
use super::system;
use crate::harness::SetupError;

/// The last part of the name of a switch's namespace.
pub(super) const SWITCH: &str = "sw";

/// The MTU of plain Ethernet, in bytes.
pub const MTU_PLAIN: usize = 1_500;
/// The MTU of jumbo frames, in bytes.
pub const MTU_JUMBO: usize = 9_000;

/// How many frames a TAP device keeps until the switch reads them: more than any burst of a case,
/// because what it drops nobody ever sees.
const TAP_QUEUE_FRAMES: usize = 10_000;

/// Hosts with a TAP device each, and the switch that holds the other ends: every frame on the wire
/// passes through this process.
///
/// The devices offload nothing. Frames move only while somebody calls [`Switch::pump`].
#[derive(Debug)]
pub struct TapBed {
    hosts: Vec<Host>,
    switch: Switch,
    mtu: usize,
    _names: Names,
}

impl TapBed {
    /// Builds this many hosts. The seed is for the faults.
    ///
    /// Minimum kernel: 4.9. Capabilities: `CAP_NET_ADMIN` and `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    /// [`SetupError::MissingPrivilege`]; [`SetupError::NotSupported`] for more than 254 hosts or
    /// without IPv6 in the kernel; [`SetupError::Io`] with what the system or `ip` said.
    pub fn build(hosts: usize, mtu: usize, seed: u64) -> Result<Self, SetupError> {
        check_size(hosts)?;
        let (names, (hosts, taps)) = Names::make(|prefix| {
            let hosts = make_hosts(prefix, hosts)?;
            let mut taps = Vec::new();
            for host in &hosts {
                taps.push(make_tap(host, mtu)?);
            }
            Ok((hosts, taps))
        })?;
        let switch = Switch::new(&hosts, taps, seed)?;
        Ok(Self { hosts, switch, mtu, _names: names })
    }

    /// The hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The MTU of every device, in bytes.
    #[must_use]
    pub const fn mtu(&self) -> usize {
        self.mtu
    }

    /// The switch.
    #[must_use]
    pub const fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The switch, to move frames.
    pub const fn switch_mut(&mut self) -> &mut Switch {
        &mut self.switch
    }
}

/// Hosts with a veth each, whose peers hang on a bridge in a namespace of its own: the kernel moves
/// the frames, and other processes can live on the hosts.
#[derive(Debug)]
pub struct BridgeBed {
    hosts: Vec<Host>,
    switch: Namespace,
    mtu: usize,
    _names: Names,
}

impl BridgeBed {
    /// Builds this many hosts.
    ///
    /// Minimum kernel: 4.9, with `veth` and `bridge`. Capabilities: `CAP_NET_ADMIN` and
    /// `CAP_SYS_ADMIN`.
    ///
    /// # Errors
    /// As [`TapBed::build`].
    pub fn build(hosts: usize, mtu: usize) -> Result<Self, SetupError> {
        check_size(hosts)?;
        let (names, (hosts, switch)) = Names::make(|prefix| {
            let hosts = make_hosts(prefix, hosts)?;
            let name = format!("{prefix}{SWITCH}");
            ip(None, &format!("netns add {name}\n"))?;
            let switch = Namespace::open(name)?;
            wire_bridge(&switch, &hosts, mtu)?;
            for host in &hosts {
                ip(Some(host.namespace().name()), &host_lines(host, mtu))?;
            }
            Ok((hosts, switch))
        })?;
        Ok(Self { hosts, switch, mtu, _names: names })
    }

    /// The hosts.
    #[must_use]
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The MTU of every device, in bytes.
    #[must_use]
    pub const fn mtu(&self) -> usize {
        self.mtu
    }

    /// The namespace of the bridge `br0`.
    #[must_use]
    pub const fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// The peer end of every host's veth, in the order of the hosts: its name in the
    /// [`switch`](Self::switch)'s namespace. A host whose driver-mode XDP program sends frames back needs
    /// a program on its peer end too, that may let everything pass.
    pub fn peers(&self) -> impl Iterator<Item = (&Namespace, String)> {
        (0..self.hosts.len()).map(|host| (&self.switch, peer_name(host)))
    }
}

fn check_size(hosts: usize) -> Result<(), SetupError> {
    if hosts > HOSTS_MAX {
        return Err(SetupError::NotSupported(format!(
            "a test bed has at most {HOSTS_MAX} hosts, not {hosts}"
        )));
    }
    if !Path::new("/proc/sys/net/ipv6").exists() {
        return Err(SetupError::NotSupported("this kernel has no IPv6".into()));
    }
    Ok(())
}

fn make_hosts(prefix: &str, count: usize) -> Result<Vec<Host>, SetupError> {
    let names: Vec<_> = (0..count).map(|host| format!("{prefix}{host}")).collect();
    ip(None, &names.iter().fold(String::new(), |lines, name| lines + "netns add " + name + "\n"))?;
    let mut hosts = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let host = Host::new(Namespace::open(name)?, index);
        for (parameter, value) in [
            // Distributions and containers turn it off, and namespaces inherit that.
            ("ipv6/conf/all/disable_ipv6", "0"),
            ("ipv6/conf/default/disable_ipv6", "0"),
            // The link-local address, without which the kernel asks no neighbour again, serves at once.
            ("ipv6/conf/default/accept_dad", "0"),
            // There is no router.
            ("ipv6/conf/default/accept_ra", "0"),
            ("ipv6/conf/default/router_solicitations", "0"),
        ] {
            host.set_parameter(parameter, value)?;
        }
        hosts.push(host);
    }
    Ok(hosts)
}

fn make_tap(host: &Host, mtu: usize) -> Result<OwnedFd, SetupError> {
    let tap = host.within(|| system::open_tap(host.interface()))??;
    let queue = format!("link set dev {} txqueuelen {TAP_QUEUE_FRAMES}\n", host.interface());
    ip(Some(host.namespace().name()), &(queue + &host_lines(host, mtu)))?;
    Ok(tap)
}

fn wire_bridge(switch: &Namespace, hosts: &[Host], mtu: usize) -> Result<(), SetupError> {
    let mut lines = String::from(
        "link set dev lo up\nlink add br0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0\n",
    );
    for (index, host) in hosts.iter().enumerate() {
        let (peer, name, namespace) = (peer_name(index), host.interface(), host.namespace().name());
        write!(
            lines,
            "link add {peer} mtu {mtu} type veth peer name {name} mtu {mtu} netns {namespace}\n\
             link set dev {peer} master br0 up\n"
        )
        .expect("a string takes everything");
    }
    writeln!(lines, "link set dev br0 mtu {mtu} up").expect("a string takes everything");
    ip(Some(switch.name()), &lines)
}

fn peer_name(host: usize) -> String {
    format!("peer{host}")
}

fn host_lines(host: &Host, mtu: usize) -> String {
    let (name, ipv4, ipv6) = (host.interface(), host.ipv4(), host.ipv6());
    let mac = host.mac().map(|byte| format!("{byte:02x}")).join(":");
    format!(
        "link set dev lo up\n\
         link set dev {name} address {mac} mtu {mtu}\n\
         address add {ipv4}/24 dev {name}\n\
         address add {ipv6}/64 dev {name} nodad\n\
         link set dev {name} up\n"
    )
}

/// Runs these lines in a namespace, or where the process is, in one process.
fn ip(namespace: Option<&str>, lines: &str) -> Result<(), SetupError> {
    let failed =
        |source| SetupError::Io { operation: "run `ip` (of the package iproute2)", source };
    let mut command = Command::new("ip");
    if let Some(namespace) = namespace {
        command.args(["-n", namespace]);
    }
    command.args(["-batch", "-"]);
    let output = system::fork_alone(|| run(&mut command, lines)).map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if said.contains("Operation not permitted") || said.contains("Permission denied") {
        return Err(SetupError::MissingPrivilege(format!("`ip` said: {said}")));
    }
    Err(failed(io::Error::other(format!("{said} (in: {lines})"))))
}

fn run(command: &mut Command, input: &str) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // A set-up is far shorter than a pipe is deep. What the child does not read its status tells.
    let _ = child.stdin.take().expect("it was piped").write_all(input.as_bytes());
    child.wait_with_output()
}
