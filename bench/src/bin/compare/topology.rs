//! Hosts on one bridge, each a network namespace. They go when the value is dropped.

use std::io;
use std::net::Ipv4Addr;
use std::process::{self, Command};
use std::thread;

use clap::ValueEnum;
use serde::Serialize;

/// Which CPUs take in what arrives at the hosts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Receive {
    /// That of whoever sends, as a veth does by itself: one CPU does the work of all hosts, one after the
    /// other.
    Sender,
    /// At the followers all but the first, which the leader has for itself: as if they were machines of
    /// their own. Their answers arrive at the leader there too, beside what it sends.
    Beside,
    /// At all hosts whichever CPU the kernel picks for each pair of addresses.
    Any,
}

impl Receive {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The CPUs of a host's receive queue as the kernel's documentation of RPS wants them
    /// (`networking/scaling.rst`): hexadecimal, of 32 CPUs at most here. Zero is the sender's.
    fn mask(self, index: u8) -> String {
        let cpus = thread::available_parallelism().map_or(1, usize::from).min(32);
        let all = u32::MAX >> (32 - cpus);
        let mask = match self {
            Self::Beside if index > 0 => all & !1,
            Self::Any => all,
            Self::Sender | Self::Beside => 0,
        };
        format!("{mask:x}")
    }
}

/// Hosts `0..count` with the addresses 10.78.0.10 and up.
pub(crate) struct Topology {
    prefix: String,
    count: u8,
}

impl Topology {
    /// Builds it. Names carry this process's id, so that runs side by side do not meet.
    pub(crate) fn up(count: u8) -> io::Result<Self> {
        let topology = Self { prefix: format!("eb{}", process::id()), count };
        topology.build()?;
        Ok(topology)
    }

    pub(crate) fn address(index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, 0, 10 + index)
    }

    /// A command that will run on a host.
    pub(crate) fn on(&self, index: u8, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.host(index)]).arg(program);
        command
    }

    /// Says which CPUs take in what arrives.
    pub(crate) fn steer(&self, receive: Receive) -> io::Result<()> {
        const QUEUE: &str = "/sys/class/net/eth0/queues/rx-0/rps_cpus";
        for index in 0..self.count {
            // The folder is that of the namespace whose `ip netns exec` mounted it.
            let write = format!("echo {} >{QUEUE}", receive.mask(index));
            let output = self.on(index, "sh").args(["-c", &write]).output()?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(io::Error::other(format!("{QUEUE}: {}", said.trim())));
            }
        }
        Ok(())
    }

    pub(crate) fn mac(index: u8) -> String {
        format!("02:00:0a:4e:00:{:02x}", 10 + index)
    }

    fn host(&self, index: u8) -> String {
        format!("{}-{index}", self.prefix)
    }

    fn switch(&self) -> String {
        format!("{}-s", self.prefix)
    }

    fn build(&self) -> io::Result<()> {
        let switch = self.switch();
        ip(&format!("netns add {switch}"))?;
        ip(&format!("-n {switch} link add br0 type bridge"))?;
        ip(&format!("-n {switch} link set br0 up"))?;
        for index in 0..self.count {
            let (host, address) = (self.host(index), Self::address(index));
            ip(&format!("netns add {host}"))?;
            ip(&format!(
                "-n {switch} link add port{index} type veth peer name eth0 address {} netns {host}",
                Self::mac(index)
            ))?;
            ip(&format!("-n {switch} link set port{index} master br0 up"))?;
            ip(&format!("-n {host} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {host} link set lo up"))?;
            ip(&format!("-n {host} link set eth0 up"))?;
        }
        // Neighbours are fixed, so that no run pays for resolving them.
        for from in 0..self.count {
            for to in (0..self.count).filter(|&to| to != from) {
                let (host, address, mac) = (self.host(from), Self::address(to), Self::mac(to));
                ip(&format!("-n {host} neigh replace {address} lladdr {mac} dev eth0"))?;
            }
        }
        Ok(())
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        let hosts = (0..self.count).map(|index| self.host(index));
        for name in hosts.chain([self.switch()]) {
            // What was not built cannot be deleted.
            let _ = Command::new("ip").args(["netns", "del", &name]).output();
        }
    }
}

fn ip(arguments: &str) -> io::Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("ip {arguments}: {}", said.trim())))
}
