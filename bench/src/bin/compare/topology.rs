//! Hosts on one bridge, each a network namespace. They go when the value is dropped.

use std::io;
use std::net::Ipv4Addr;
use std::process::{self, Command};

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
