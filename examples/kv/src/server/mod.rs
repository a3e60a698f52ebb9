//! `serve`: one replica and its clients.

mod backend;
mod connection;
mod desk;
mod inbox;
mod listener;
mod turn;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use electrode_multi_paxos::{
    DiskStore, LogStore, MemoryStore, Replica, ReplicaConfig, StoreIdentity,
};
use electrode_transport::{Ballot, QuorumTransport};

use crate::cli::ServeArgs;
use crate::config::{Mode, ServeConfig};
use crate::error::{Error, Result};
use crate::machine::KvMachine;
use desk::Desk;
use inbox::Inbox;
use turn::Turns;

/// Runs a replica until it is interrupted or fails.
pub(crate) fn run(args: &ServeArgs) -> Result<()> {
    let config = ServeConfig::resolve(args)?;
    if args.exit_with_parent {
        exit_with_parent()?;
    }
    // The data directory first: whoever has it open has the ports too, and is the clearer reason.
    let identity =
        StoreIdentity { cluster: config.cluster, node: config.node, mode: config.mode.into() };
    let mut store = DiskStore::open(&config.data_dir, identity)?;
    let listener = listener::bind(config.own()?.client)?;
    let (transport, chosen) = backend::open(&config)?;
    let started = Instant::now();
    let settings = ReplicaConfig::new(config.mode.into(), rand::random());
    let machine = KvMachine::default();
    match config.mode {
        Mode::Persisted => {
            let replica = Replica::open(settings, transport, store, machine, started.elapsed());
            let replica = replica.map_err(stopped)?;
            serve(&config, replica, &chosen, listener, started)
        }
        Mode::Received => {
            let first = is_first_start(&mut store)?;
            let start = if first { Replica::bootstrap } else { Replica::recover };
            if !first {
                tracing::info!("started before: recovering from the other replicas");
            }
            let replica =
                start(settings, transport, MemoryStore::new(), machine, started.elapsed());
            serve(&config, replica.map_err(stopped)?, &chosen, listener, started)?;
            // Held until here, so that no second process runs as this replica.
            drop(store);
            Ok(())
        }
    }
}

/// In `Received` mode the log is in memory, and the data directory holds only the mark that this
/// replica has run before and must therefore recover. The mark is durable before it first takes part.
fn is_first_start(mark: &mut DiskStore) -> Result<bool> {
    if mark.promise() != Ballot::NONE {
        return Ok(false);
    }
    mark.set_promise(Ballot(1))?;
    mark.sync()?;
    Ok(true)
}

fn serve<T: QuorumTransport, L: LogStore>(
    config: &ServeConfig,
    mut replica: Replica<T, L, KvMachine>,
    chosen: &electrode::Selected,
    listener: std::net::TcpListener,
    started: Instant,
) -> Result<()> {
    let (inbox, outlet) = Inbox::for_this_thread();
    let interrupted = interruption(inbox.clone())?;
    let desk = Desk::new(config, chosen, replica.command_len_max());
    let clients = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    listener::start(listener, inbox).map_err(|source| Error::File {
        operation: "start a thread for",
        path: "clients".into(),
        source,
    })?;
    let status = replica.status();
    tracing::info!(
        node = config.node.0,
        cluster = config.cluster.0,
        mode = %config.mode,
        peers = %config.own()?.peer,
        clients,
        data_dir = %config.data_dir.display(),
        ballot = status.ballot.0,
        applied = status.applied.0,
        "replica started"
    );
    let mut turns = Turns::new(outlet, desk, started);
    while !interrupted.load(Ordering::Relaxed) {
        turns.turn(&mut replica).map_err(stopped)?;
    }
    tracing::info!("interrupted: stopping");
    replica.stop();
    Ok(())
}

/// Set on Ctrl-C or termination, which also wakes the replica's thread.
fn interruption(inbox: Inbox) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        set.store(true, Ordering::Relaxed);
        inbox.wake();
    })
    .map_err(|error| Error::Replica { why: format!("no handler for Ctrl-C: {error}") })?;
    Ok(flag)
}

/// Ends the process when standard input does: its other end was held by a process that has gone.
fn exit_with_parent() -> Result<()> {
    let watch = || {
        let mut ignored = [0; 64];
        while std::io::stdin().read(&mut ignored).is_ok_and(|len| len > 0) {}
        // Nothing needs tidying: a replica must survive this and worse.
        std::process::exit(0);
    };
    let thread = std::thread::Builder::new().name("kv-parent".into()).spawn(watch);
    let fault = |source| Error::File { operation: "watch", path: "standard input".into(), source };
    thread.map(drop).map_err(fault)
}

/// A replica's error with its cause: the outer one alone does not say what to do.
fn stopped(error: electrode_multi_paxos::ReplicaError) -> Error {
    use electrode_multi_paxos::ReplicaError;
    match error {
        ReplicaError::Store(error) => Error::Store(error),
        ReplicaError::Transport(error) => Error::Transport(error),
        other => Error::Replica { why: other.to_string() },
    }
}
