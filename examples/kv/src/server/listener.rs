//! Takes clients in.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::server::connection;
use crate::server::inbox::Inbox;

/// Clients connected at once; each costs two threads.
const CLIENTS_MAX: usize = 512;

/// Binds the clients' address.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|source| Error::Listen { address, source })
}

/// Serves clients from a thread of its own until the process ends.
pub(super) fn start(listener: TcpListener, inbox: Inbox) -> io::Result<()> {
    let connected = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        loop {
            match listener.accept() {
                Ok((stream, client)) => take_in(stream, client, &connected, &inbox),
                Err(error) => {
                    // Out of descriptors, or a client that has gone already.
                    tracing::warn!(%error, "a client could not be accepted");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    };
    std::thread::Builder::new().name("kv-listener".into()).spawn(accept)?;
    Ok(())
}

fn take_in(stream: TcpStream, client: SocketAddr, connected: &Arc<AtomicUsize>, inbox: &Inbox) {
    if connected.load(Ordering::Relaxed) >= CLIENTS_MAX {
        tracing::warn!(%client, limit = CLIENTS_MAX, "refused: too many clients");
        return;
    }
    connected.fetch_add(1, Ordering::Relaxed);
    let (inbox, count) = (inbox.clone(), Arc::clone(connected));
    let serve = move || {
        if let Err(error) = connection::serve(stream, &inbox) {
            tracing::debug!(%client, %error, "client gone");
        }
        count.fetch_sub(1, Ordering::Relaxed);
    };
    let thread = std::thread::Builder::new().name("kv-client-in".into());
    if let Err(error) = thread.spawn(serve) {
        connected.fetch_sub(1, Ordering::Relaxed);
        tracing::warn!(%client, %error, "no thread for a client");
    }
}
