//! Opening the right backend, and saying which one it is and why.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use electrode_transport::TransportError;
use electrode_transport::{
    EndpointConfig, GroupConfig, NodeId, Obstacle, QuorumTransport, Result, Stats,
};

use crate::backend::Backend;
use crate::candidates;

/// Which backend to open. Reads and prints as `auto`, `socket`, `ebpf`, for configuration files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Choice {
    /// The best of the built-in ones that works here. With `EbpfOptions::pin` it is the kernel or an error:
    /// programs that outlived an earlier process may still acknowledge in its name.
    #[default]
    Auto,
    /// UDP sockets, or an error.
    Socket,
    /// The kernel, or an error.
    Ebpf,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Socket => "socket",
            Self::Ebpf => "ebpf",
        })
    }
}

/// A word that names no backend.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no backend is called {0:?}: use auto, socket or ebpf")]
pub struct UnknownChoice(String);

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(word: &str) -> Result<Self, UnknownChoice> {
        [Self::Auto, Self::Socket, Self::Ebpf]
            .into_iter()
            .find(|choice| choice.to_string() == word)
            .ok_or_else(|| UnknownChoice(word.to_owned()))
    }
}

/// What to open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Which backend; [`Choice::Auto`] unless changed.
    pub backend: Choice,
    /// The node and its address.
    pub endpoint: EndpointConfig,
    /// What only the socket backend looks at.
    #[cfg(feature = "socket")]
    pub socket: crate::SocketOptions,
    /// What only the eBPF backend looks at, the socket beside its programs included.
    #[cfg(feature = "ebpf")]
    pub ebpf: crate::EbpfOptions,
}

impl Options {
    /// The best backend for an endpoint, with each backend's defaults.
    #[must_use]
    pub fn new(endpoint: EndpointConfig) -> Self {
        Self {
            backend: Choice::Auto,
            endpoint,
            #[cfg(feature = "socket")]
            socket: crate::SocketOptions::default(),
            #[cfg(feature = "ebpf")]
            ebpf: crate::EbpfOptions::default(),
        }
    }

    /// The same with another choice of backend.
    #[must_use]
    pub fn with_backend(mut self, backend: Choice) -> Self {
        self.backend = backend;
        self
    }
}

/// The backend that was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Selected {
    /// Its name, as in [`Capabilities::backend`](crate::Capabilities).
    pub name: &'static str,
    /// Why this one, in a sentence for the log.
    pub why: String,
    /// What was wanted more and could not be had, if this is not the first choice.
    pub fallback: Option<Fallback>,
}

/// A backend that was wanted more than the one that was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Fallback {
    /// Its name.
    pub from: &'static str,
    /// Why it could not be had, for programs.
    pub reason: Obstacle,
    /// Why, and what would help.
    pub why: String,
}

impl Selected {
    pub(crate) fn new(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, why: why.into(), fallback: None }
    }

    /// Instead of one that was wanted more.
    pub(crate) fn instead(name: &'static str, fallback: Fallback) -> Self {
        let why = format!("instead of {}, which is not available: {}", fallback.from, fallback.why);
        Self { name, why, fallback: Some(fallback) }
    }
}

impl Fallback {
    pub(crate) const fn new(from: &'static str, reason: Obstacle, why: String) -> Self {
        Self { from, reason, why }
    }
}

impl fmt::Display for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} backend: {}", self.name, self.why)
    }
}

/// One node's endpoint on the backend that [`open`] picked.
///
/// It lives as long as itself or a transport on it; then its address is free again.
pub struct Endpoint {
    node: NodeId,
    backend: Box<dyn Backend>,
    selected: Selected,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("selected", &self.selected).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Opens a group. The handle neither leads nor follows yet, and acknowledges nothing.
    ///
    /// # Errors
    /// [`TransportError::Config`] names what is wrong with the group; [`TransportError::Closed`].
    pub fn join(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>> {
        self.backend.join(config)
    }

    /// Which backend this is, and why.
    #[must_use]
    pub const fn backend(&self) -> &Selected {
        &self.selected
    }

    /// The node that it is.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// The address it is bound to: with port 0 in the configuration, the port that was chosen.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.backend.local_addr()
    }

    /// The counters since it was opened, over all groups.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.backend.stats()
    }

    /// What the kernel's programs counted, by verdict and reason. `None` on other backends.
    #[cfg(all(feature = "ebpf", target_os = "linux"))]
    #[must_use]
    pub fn ticks(&self) -> Option<crate::Ticks> {
        self.backend.ticks()
    }

    /// Closes it with all its groups: nothing is acknowledged any more, the address is free, waiting
    /// calls end with [`TransportError::Closed`]. Closing twice is not an error.
    pub fn close(&self) {
        self.backend.close();
    }

    /// As [`TransportCore::drive`](crate::TransportCore::drive), for all groups.
    ///
    /// # Errors
    /// As there.
    pub fn drive(&self) -> Result<()> {
        self.backend.drive()
    }

    /// As [`TransportCore::wait`](crate::TransportCore::wait), for all groups.
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self, max: Duration) -> Result<()> {
        self.backend.wait(max)
    }
}

/// Opens an endpoint on the backend that was asked for, or on the best that works. What was picked,
/// and why, is in [`Endpoint::backend`] and in a log line.
///
/// [`Choice::Auto`] opens the eBPF backend if the feature `ebpf` is on and it works here, which it tries.
/// If it does not, the socket backend takes its place, loudly: a warning in the log,
/// [`Selected::fallback`] with the reason, and [`Counter::Fallbacks`](crate::Counter::Fallbacks).
/// Whoever would rather not run at all than slowly asks for [`Choice::Ebpf`].
///
/// # Errors
/// [`TransportError::Unavailable`] if that backend cannot run here, which says what would help;
/// otherwise the backend's own: an address in use or not of this machine, a configuration that
/// cannot work.
pub fn open(options: Options) -> Result<Endpoint> {
    let (backend, selected) = match options.backend {
        Choice::Auto => candidates::best(&options)?,
        Choice::Socket => {
            (candidates::socket(&options)?, Selected::new("socket", "it was asked for"))
        }
        Choice::Ebpf => {
            let (backend, place) = candidates::ebpf(&options)?;
            (backend, Selected::new("ebpf", format!("it was asked for; {place}")))
        }
    };
    tracing::info!(
        backend = selected.name,
        why = selected.why,
        node = %options.endpoint.node,
        address = %backend.local_addr(),
        "endpoint opened"
    );
    Ok(Endpoint { node: options.endpoint.node, backend, selected })
}
