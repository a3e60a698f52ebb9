//! The conformance suite on the socket backend, over the loopback interface.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use electrode_backend_socket::{SocketEndpoint, SocketOptions};
use electrode_conformance::{
    Cluster, ClusterSpec, Features, Harness, RelayedCluster, RelayedEndpoint, SetupError,
};
use electrode_transport::{EndpointConfig, GroupConfig, QuorumTransport, Result};

struct SocketHarness;

impl Harness for SocketHarness {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn declares(&self) -> Features {
        Features::ALL.without(Features::VIRTUAL_TIME)
    }

    fn cluster(&self, spec: &ClusterSpec, seed: u64) -> Result<Box<dyn Cluster>, SetupError> {
        Ok(Box::new(RelayedCluster::<Endpoint>::build(spec, seed)?))
    }
}

struct Endpoint(SocketEndpoint);

impl RelayedEndpoint for Endpoint {
    fn bind(config: EndpointConfig) -> Result<Self> {
        SocketEndpoint::bind(config, SocketOptions::default()).map(Self)
    }

    fn local_addr(&self) -> SocketAddr {
        self.0.local_addr()
    }

    fn open(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>> {
        Ok(Arc::new(self.0.join(config)?))
    }

    fn drive(&self) -> Result<()> {
        self.0.drive()
    }

    fn close(&self) {
        self.0.close();
    }
}

fn main() -> ExitCode {
    electrode_conformance::main(SocketHarness)
}
