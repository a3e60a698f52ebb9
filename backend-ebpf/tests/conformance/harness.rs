//! Every node on a host of its own, a network namespace with a TAP device, the programs attached by
//! one hook.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use electrode_backend_ebpf::{EbpfEndpoint, EbpfOptions, Hook, Stock};
use electrode_backend_socket::{SocketEndpoint, SocketOptions};
use electrode_conformance::testbed::{TapCluster, TapEndpoint, TapPool};
use electrode_conformance::{Cluster, ClusterSpec, Features, Harness, SetupError};
use electrode_transport::{EndpointConfig, GroupConfig, QuorumTransport, Result};

use crate::bpffs::Bpffs;

/// By which hook the node of a number has the programs; `None` if it is a socket alone.
type HookOf = fn(usize) -> Option<Hook>;

/// One way to set up a cluster.
struct Setup {
    /// For reports and filters.
    hook: &'static str,
    hook_of: HookOf,
    /// Every case on IPv6, not only the one that asks for it.
    ipv6: bool,
    /// Everything is pinned: a log that outlives its process is the same log.
    pinned: bool,
}

impl Setup {
    const fn new(hook: &'static str, hook_of: HookOf) -> Self {
        Self { hook, hook_of, ipv6: false, pinned: false }
    }
}

const SETUPS: [Setup; 9] = [
    Setup::new("tc", |_| Some(Hook::Tc)),
    Setup::new("xdp-generic", |_| Some(Hook::XdpGeneric)),
    Setup::new("xdp-native", |_| Some(Hook::XdpNative)),
    // Most cases have node 0 lead: here its kernel counts what sockets acknowledge ...
    Setup::new("socket-follows", mixed),
    // ... and here kernels acknowledge to a socket that counts.
    Setup::new("socket-leads", |node| mixed(node + 1)),
    Setup { ipv6: true, ..Setup::new("tc-ipv6", |_| Some(Hook::Tc)) },
    Setup { ipv6: true, ..Setup::new("xdp-generic-ipv6", |_| Some(Hook::XdpGeneric)) },
    Setup { ipv6: true, ..Setup::new("xdp-native-ipv6", |_| Some(Hook::XdpNative)) },
    Setup { pinned: true, ..Setup::new("tc-pinned", |_| Some(Hook::Tc)) },
];

/// Every other node with the programs, by one hook after another.
fn mixed(node: usize) -> Option<Hook> {
    const HOOKS: [Hook; 3] = [Hook::Tc, Hook::XdpNative, Hook::XdpGeneric];
    node.is_multiple_of(2).then(|| HOOKS[node / 2 % HOOKS.len()])
}

/// The suite on each set-up. They share hosts and programs.
pub(crate) fn all() -> Vec<Arc<dyn Harness>> {
    let fresh = env::var("ELECTRODE_FRESH_PROGRAMS").is_ok_and(|value| value == "1");
    let stock = (!fresh).then(Arc::<Stock>::default);
    let pool = TapPool::default();
    let harness = |setup| EbpfHarness { setup, pool: pool.clone(), stock: stock.clone() };
    SETUPS.iter().map(|setup| Arc::new(harness(setup)) as Arc<dyn Harness>).collect()
}

struct EbpfHarness {
    setup: &'static Setup,
    pool: TapPool,
    /// Loaded programs, for one endpoint after another; without, each has its own.
    stock: Option<Arc<Stock>>,
}

impl Harness for EbpfHarness {
    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn hook(&self) -> String {
        self.setup.hook.into()
    }

    fn declares(&self) -> Features {
        Features::ALL.without(Features::VIRTUAL_TIME)
    }

    fn cluster(&self, spec: &ClusterSpec, seed: u64) -> Result<Box<dyn Cluster>, SetupError> {
        let spec = ClusterSpec { ipv6: spec.ipv6 || self.setup.ipv6, ..spec.clone() };
        let (hook_of, stock) = (self.setup.hook_of, self.stock.clone());
        let bpffs = self.setup.pinned.then(|| Arc::new(Bpffs::mount()));
        let cluster = TapCluster::build(&self.pool, &spec, seed, move |place, config| {
            let Some(hook) = hook_of(place.node) else {
                let endpoint = SocketEndpoint::bind(config, SocketOptions::default())?;
                return Ok(Endpoint::Socket(endpoint));
            };
            // A folder of its own for each node: all have the same few addresses.
            let folder = |bpffs: &Arc<Bpffs>| bpffs.root().join(format!("node_{}", place.node));
            let endpoint = bind(hook, config, bpffs.as_ref().map(folder), stock.as_deref())?;
            Ok(Endpoint::Ebpf { endpoint, _bpffs: bpffs.clone() })
        })?;
        Ok(Box::new(cluster))
    }
}

fn bind(
    hook: Hook,
    config: EndpointConfig,
    pin: Option<PathBuf>,
    stock: Option<&Stock>,
) -> Result<EbpfEndpoint> {
    let mut options = EbpfOptions::default();
    options.hook = hook.into();
    options.pin = pin;
    options.log_bytes = 1 << 20;
    match stock {
        Some(stock) => stock.bind(config, options),
        None => EbpfEndpoint::bind(config, options),
    }
}

enum Endpoint {
    Ebpf {
        endpoint: EbpfEndpoint,
        /// The file system of its pins, if it has any, for as long.
        _bpffs: Option<Arc<Bpffs>>,
    },
    Socket(SocketEndpoint),
}

impl TapEndpoint for Endpoint {
    fn open(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>> {
        match self {
            Self::Ebpf { endpoint, .. } => endpoint.join(config),
            Self::Socket(endpoint) => Ok(Arc::new(endpoint.join(config)?)),
        }
    }

    fn drive(&self) -> Result<()> {
        match self {
            Self::Ebpf { endpoint, .. } => endpoint.drive(),
            Self::Socket(endpoint) => endpoint.drive(),
        }
    }

    fn close(&self) {
        match self {
            Self::Ebpf { endpoint, .. } => endpoint.close(),
            Self::Socket(endpoint) => endpoint.close(),
        }
    }
}

/// Each endpoint has some twenty descriptors, and there are clusters of 32: more than the usual limit.
/// What the system does not grant shows in the case that lacks it.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a local that outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max.min(1 << 16);
        // SAFETY: as above.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}
