//! The conformance suite on the socket backend, every node on a host of its own: a network namespace
//! with a TAP device. Linux, as root.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
mod namespaces {
    use std::sync::Arc;

    use electrode_backend_socket::{SocketEndpoint, SocketOptions};
    use electrode_conformance::testbed::{TapCluster, TapEndpoint, TapPool};
    use electrode_conformance::{Cluster, ClusterSpec, Features, Harness, SetupError};
    use electrode_transport::{GroupConfig, QuorumTransport, Result};

    #[derive(Default)]
    pub(crate) struct NamespaceHarness {
        pool: TapPool,
    }

    impl Harness for NamespaceHarness {
        fn name(&self) -> &'static str {
            "socket"
        }

        fn hook(&self) -> String {
            "tap".into()
        }

        fn declares(&self) -> Features {
            Features::ALL.without(Features::VIRTUAL_TIME)
        }

        fn cluster(&self, spec: &ClusterSpec, seed: u64) -> Result<Box<dyn Cluster>, SetupError> {
            let cluster = TapCluster::build(&self.pool, spec, seed, |_, config| {
                Ok(Endpoint(SocketEndpoint::bind(config, SocketOptions::default())?))
            })?;
            Ok(Box::new(cluster))
        }
    }

    struct Endpoint(SocketEndpoint);

    impl TapEndpoint for Endpoint {
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
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    electrode_conformance::main(namespaces::NamespaceHarness::default())
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("LEFT OUT: hosts as network namespaces need Linux");
    if electrode_conformance::require_privileged() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
