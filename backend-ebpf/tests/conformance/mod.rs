//! The conformance suite on the eBPF backend: every node on a host of its own, a network namespace with
//! a TAP device, the programs attached by one hook. Linux, as root.

use std::process::ExitCode;
use std::sync::Arc;

use electrode_backend_ebpf::{EbpfEndpoint, EbpfOptions, Hook};
use electrode_backend_socket::{SocketEndpoint, SocketOptions};
use electrode_conformance::testbed::{TapCluster, TapEndpoint, TapPool};
use electrode_conformance::{Cluster, ClusterSpec, Features, Harness, SetupError};
use electrode_transport::{GroupConfig, QuorumTransport, Result};

/// Whether the node of a number has the programs; the others are sockets alone.
pub type Who = fn(usize) -> bool;

pub struct EbpfHarness {
    name: &'static str,
    hook: Hook,
    who: Who,
    pool: TapPool,
}

impl Harness for EbpfHarness {
    fn name(&self) -> &'static str {
        self.name
    }

    fn hook(&self) -> String {
        self.hook.to_string()
    }

    fn declares(&self) -> Features {
        Features::ALL.without(Features::VIRTUAL_TIME)
    }

    fn cluster(&self, spec: &ClusterSpec, seed: u64) -> Result<Box<dyn Cluster>, SetupError> {
        let (hook, who) = (self.hook, self.who);
        let cluster = TapCluster::build(&self.pool, spec, seed, move |place, config| {
            if !who(place.node) {
                let endpoint = SocketEndpoint::bind(config, SocketOptions::default())?;
                return Ok(Endpoint::Socket(endpoint));
            }
            let mut options = EbpfOptions::default();
            options.hook = hook;
            options.log_bytes = 1 << 20;
            Ok(Endpoint::Ebpf(EbpfEndpoint::bind(config, options)?))
        })?;
        Ok(Box::new(cluster))
    }
}

enum Endpoint {
    Ebpf(EbpfEndpoint),
    Socket(SocketEndpoint),
}

impl TapEndpoint for Endpoint {
    fn open(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>> {
        match self {
            Self::Ebpf(endpoint) => endpoint.join(config),
            Self::Socket(endpoint) => Ok(Arc::new(endpoint.join(config)?)),
        }
    }

    fn drive(&self) -> Result<()> {
        match self {
            Self::Ebpf(endpoint) => endpoint.drive(),
            Self::Socket(endpoint) => endpoint.drive(),
        }
    }

    fn close(&self) {
        match self {
            Self::Ebpf(endpoint) => endpoint.close(),
            Self::Socket(endpoint) => endpoint.close(),
        }
    }
}

/// Runs the suite.
pub fn main(name: &'static str, hook: Hook, who: Who) -> ExitCode {
    electrode_conformance::main(EbpfHarness { name, hook, who, pool: TapPool::default() })
}
