//! The conformance suite with everything pinned: a log that outlives its process is the same log.

#[path = "pinned/bpffs.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the pinned tests' own, which use all of it")]
mod bpffs;

use std::process::ExitCode;
use std::sync::Arc;

use electrode_backend_ebpf::{EbpfEndpoint, EbpfOptions, Hook};
use electrode_conformance::testbed::{TapCluster, TapEndpoint, TapPool};
use electrode_conformance::{Cluster, ClusterSpec, Features, Harness, SetupError};
use electrode_transport::{GroupConfig, QuorumTransport, Result};

use bpffs::Bpffs;

#[derive(Default)]
struct Pinned {
    pool: TapPool,
}

impl Harness for Pinned {
    fn name(&self) -> &'static str {
        "ebpf-pinned"
    }

    fn hook(&self) -> String {
        "tc".to_owned()
    }

    fn declares(&self) -> Features {
        Features::ALL.without(Features::VIRTUAL_TIME)
    }

    fn cluster(&self, spec: &ClusterSpec, seed: u64) -> Result<Box<dyn Cluster>, SetupError> {
        let bpffs = Arc::new(Bpffs::mount());
        let cluster = TapCluster::build(&self.pool, spec, seed, move |place, config| {
            let mut options = EbpfOptions::default();
            options.hook = Hook::Tc.into();
            options.log_bytes = 1 << 20;
            // Of its own: a node that is started again is a new one here.
            options.pin = Some(bpffs.root().join(format!("node_{}", place.node)));
            let inner = EbpfEndpoint::bind(config, options)?;
            Ok(Endpoint { inner, _bpffs: Arc::clone(&bpffs) })
        })?;
        Ok(Box::new(cluster))
    }
}

struct Endpoint {
    inner: EbpfEndpoint,
    _bpffs: Arc<Bpffs>,
}

impl TapEndpoint for Endpoint {
    fn open(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>> {
        self.inner.join(config)
    }

    fn drive(&self) -> Result<()> {
        self.inner.drive()
    }

    fn close(&self) {
        self.inner.close();
    }
}

fn main() -> ExitCode {
    electrode_conformance::main(Pinned::default())
}
