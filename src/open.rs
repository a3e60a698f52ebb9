//! Picking a backend at run time, and saying which and why.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use electrode_backend_socket::{SocketEndpoint, SocketOptions, SocketTransport};
use electrode_transport::{
    EndpointConfig, GroupConfig, QuorumTransport, Result, Stats, TransportError,
};

/// The handle of the backend that the features select, for code that wants no `dyn`: written against
/// `T: QuorumTransport`, it changes backends with the feature.
pub type Transport = SocketTransport;

/// Which backend to open.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Choice {
    /// The fastest that works here. [`Endpoint::backend`] says which that is, and why.
    #[default]
    Auto,
    /// UDP sockets.
    Socket,
    /// The kernel's programs, or an error: never a silent fall-back.
    Ebpf,
}

/// Not the name of a backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownChoice(String);

impl fmt::Display for UnknownChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no backend: use `auto`, `socket` or `ebpf`", self.0)
    }
}

impl std::error::Error for UnknownChoice {}

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(name: &str) -> Result<Self, UnknownChoice> {
        match name {
            "auto" => Ok(Self::Auto),
            "socket" => Ok(Self::Socket),
            "ebpf" => Ok(Self::Ebpf),
            other => Err(UnknownChoice(other.to_owned())),
        }
    }
}

/// What to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which backend.
    pub backend: Choice,
    /// The node's place in the world.
    pub endpoint: EndpointConfig,
    /// Used if the choice falls on sockets.
    pub socket: SocketOptions,
}

impl Options {
    /// The fastest backend that works, with its defaults.
    #[must_use]
    pub fn new(endpoint: EndpointConfig) -> Self {
        Self { backend: Choice::Auto, endpoint, socket: SocketOptions::default() }
    }
}

/// The backend that was opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selected {
    /// Its name, as in [`Capabilities::backend`](crate::Capabilities::backend).
    pub name: &'static str,
    /// Why this one: for a log line, a status page, a bug report.
    pub why: String,
}

/// A node's endpoint on whichever backend was opened. Dropping it and every transport on it closes
/// it.
#[derive(Debug)]
pub struct Endpoint {
    socket: SocketEndpoint,
    selected: Selected,
}

/// Opens an endpoint.
///
/// # Errors
/// As the backend's own opening: [`TransportError::Config`], [`TransportError::AddressNotLocal`],
/// [`TransportError::AddressInUse`], [`TransportError::Io`]. [`TransportError::Unavailable`] if a
/// backend was demanded that this build does not have.
pub fn open(options: Options) -> Result<Endpoint> {
    let why = match options.backend {
        Choice::Auto => "auto: UDP sockets work everywhere, and this build has no other backend",
        Choice::Socket => "asked for",
        Choice::Ebpf => {
            return Err(TransportError::Unavailable {
                backend: "ebpf",
                why: "this build does not contain it; ask for `auto` or `socket`".to_owned(),
            });
        }
    };
    let socket = SocketEndpoint::bind(options.endpoint, options.socket)?;
    let selected = Selected { name: "socket", why: why.to_owned() };
    tracing::info!(
        backend = selected.name,
        why = selected.why,
        address = %socket.local_addr(),
        "opened"
    );
    Ok(Endpoint { socket, selected })
}

impl Endpoint {
    /// Opens a group on this endpoint.
    ///
    /// # Errors
    /// [`TransportError::Config`]; [`TransportError::Closed`].
    pub fn join(&self, config: GroupConfig) -> Result<Arc<dyn QuorumTransport>> {
        Ok(Arc::new(self.socket.join(config)?))
    }

    /// Which backend was opened, and why.
    #[must_use]
    pub const fn backend(&self) -> &Selected {
        &self.selected
    }

    /// The address that is really bound, if the configured port was 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }

    /// The endpoint's counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.socket.stats()
    }

    /// Closes the endpoint with all of its groups.
    pub fn close(&self) {
        self.socket.close();
    }

    /// As [`TransportCore::drive`](crate::TransportCore::drive), for a thread without a runtime.
    ///
    /// # Errors
    /// As there.
    pub fn drive(&self) -> Result<()> {
        self.socket.drive()
    }

    /// As [`TransportCore::wait`](crate::TransportCore::wait).
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self, max: Duration) -> Result<()> {
        self.socket.wait(max)
    }
}
