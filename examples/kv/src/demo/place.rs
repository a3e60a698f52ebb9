//! Where the replicas are: on the loopback interface, or on hosts of a test bed.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;

#[cfg(target_os = "linux")]
use electrode_conformance::testbed::{BridgeBed, MTU_PLAIN};

use super::cluster::file_fault;
use super::fail;
use crate::config::Backend;
use crate::error::Result;

pub(super) const NODES: u64 = 3;

/// Where the replicas are.
pub(super) enum Place {
    Loopback,
    /// A host each, and one more for the client.
    #[cfg(target_os = "linux")]
    Hosts(BridgeBed),
}

/// A replica's addresses: for replicas, and for clients.
pub(super) type Addresses = (SocketAddr, SocketAddr);

impl Place {
    /// The hosts that the kernel's programs need, if this process can have them.
    pub(super) fn find(backend: Backend) -> Result<Self> {
        match (backend, Self::hosts()) {
            (Backend::Socket, _) => Ok(Self::Loopback),
            (_, Ok(hosts)) => Ok(hosts),
            (Backend::Auto, Err(why)) => {
                println!("  place the loopback interface: {why}");
                Ok(Self::Loopback)
            }
            (Backend::Ebpf, Err(why)) => Err(fail(format!(
                "the kernel's programs need interfaces, and {why}; or leave out --backend ebpf"
            ))),
        }
    }

    #[cfg(target_os = "linux")]
    fn hosts() -> std::result::Result<Self, String> {
        let hosts = NODES as usize + 1;
        let bed = BridgeBed::build(hosts, MTU_PLAIN).map_err(|error| error.to_string())?;
        Ok(Self::Hosts(bed))
    }

    #[cfg(not(target_os = "linux"))]
    fn hosts() -> std::result::Result<Self, String> {
        Err("hosts of their own are for Linux".into())
    }

    /// Whether the kernel's programs can work here.
    pub(super) const fn has_interfaces(&self) -> bool {
        !matches!(self, Self::Loopback)
    }

    /// For a newcomer.
    pub(super) const fn description(&self) -> &'static str {
        match self {
            Self::Loopback => "each a process of its own, talk over the loopback interface",
            #[cfg(target_os = "linux")]
            Self::Hosts(_) => "each a process on a host of its own, talk over a virtual switch",
        }
    }

    /// Does something where the client is.
    pub(super) fn at_client<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        match self {
            Self::Loopback => run(),
            #[cfg(target_os = "linux")]
            Self::Hosts(bed) => {
                let client = bed.hosts().last().ok_or_else(|| fail("the test bed has no host"))?;
                client.within(run).map_err(|error| fail(error.to_string()))?
            }
        }
    }

    /// A command that starts where a replica is, the first one being 1.
    #[cfg_attr(not(target_os = "linux"), allow(unused_variables, reason = "all are in one place"))]
    pub(super) fn command(&self, id: u64, program: &OsStr) -> Result<Command> {
        match self {
            Self::Loopback => Ok(Command::new(program)),
            #[cfg(target_os = "linux")]
            Self::Hosts(bed) => {
                let host = bed.hosts().get(id as usize - 1);
                let host = host.ok_or_else(|| fail(format!("the test bed has no host {id}")))?;
                host.command(program).map_err(|error| fail(error.to_string()))
            }
        }
    }

    /// Addresses that are free now.
    pub(super) fn addresses(&self) -> Result<Vec<Addresses>> {
        match self {
            Self::Loopback => free_on_loopback(),
            #[cfg(target_os = "linux")]
            Self::Hosts(bed) => {
                let hosts = bed.hosts().iter().take(NODES as usize);
                Ok(hosts
                    .map(|host| (host.address(false, 7_101), host.address(false, 7_201)))
                    .collect())
            }
        }
    }
}

fn free_on_loopback() -> Result<Vec<Addresses>> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let fault = |error| file_fault("find a free port on", Path::new("127.0.0.1"))(error);
    let mut held = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..NODES {
        let peer = UdpSocket::bind(any).map_err(fault)?;
        let client = TcpListener::bind(any).map_err(fault)?;
        addresses.push((peer.local_addr().map_err(fault)?, client.local_addr().map_err(fault)?));
        // Held until all are chosen, so that they differ.
        held.push((peer, client));
    }
    Ok(addresses)
}
