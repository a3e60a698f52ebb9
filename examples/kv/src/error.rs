//! What can go wrong, said so that the reader knows what to do next.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use electrode_multi_paxos::StoreError;
use electrode_transport::{ConfigError, TransportError};

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The configuration file does not say what it should.
    #[error("{file}:{line}: {why}")]
    ConfigFile { file: String, line: usize, why: String },
    /// A setting is missing or does not work, wherever it came from.
    #[error("{setting}: {why}")]
    Setting { setting: &'static str, why: String },
    /// The membership or endpoint cannot work.
    #[error("the cluster's configuration cannot work: {0}")]
    Cluster(#[from] ConfigError),
    /// The transport failed.
    #[error("transport: {0}")]
    Transport(#[from] TransportError),
    /// The data directory failed.
    #[error("storage: {0}")]
    Store(#[from] StoreError),
    /// A file failed.
    #[error("cannot {operation} {path}: {source}")]
    File { operation: &'static str, path: PathBuf, source: std::io::Error },
    /// A line of a file to load is not `key<TAB>value`.
    #[error("{path}:{line}: {why}")]
    Line { path: String, line: usize, why: String },
    /// The address for clients cannot be bound.
    #[error(
        "cannot listen for clients on {address}: {source}; stop the other process, or choose another address"
    )]
    Listen { address: SocketAddr, source: std::io::Error },
    /// No leader answered in time.
    #[error(
        "no answer from {servers} within {waited:?}: is a majority of the replicas up? A write that was under way may or may not have been executed: read before repeating it (last: {last})"
    )]
    NoAnswer { servers: String, waited: Duration, last: String },
    /// The command does not fit one slot of the log.
    #[error(
        "key and value are too large: the command has {len} bytes and one slot of this cluster holds {max}; split the value, or raise datagram_len_max on every replica"
    )]
    TooLarge { len: u64, max: u64 },
    /// The server refused.
    #[error("the server refused: {why}")]
    Refused { why: String },
    /// The other side does not speak this protocol.
    #[error("{0} from the server: are client and server of the same release?")]
    Protocol(#[from] crate::codec::Malformed),
    /// `cas` found something else.
    #[error("not changed: the key {found}")]
    Mismatch { found: String },
    /// `get` or `del` found nothing.
    #[error("no such key")]
    NoSuchKey,
    /// The replica stopped for a reason that is its own.
    #[error("the replica stopped: {why}")]
    Replica { why: String },
    /// A check of the demonstration failed.
    #[error("the demonstration failed: {why}")]
    Demo { why: String },
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

/// The result of every fallible function here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
