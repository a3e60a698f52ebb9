//! The way from the clients' threads to the replica's.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::task::Wake;
use std::thread::Thread;

use crate::protocol::RequestBody;
use crate::server::connection::ReplyTo;

/// Requests that may wait for the replica, over all clients.
const CAPACITY: usize = 4_096;

/// A request and where its response goes.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) body: RequestBody,
    pub(super) reply: ReplyTo,
}

/// Wakes the replica's thread: for the transport, and for those who put something in.
#[derive(Debug)]
pub(super) struct Unpark(pub(super) Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// The clients' end.
#[derive(Clone, Debug)]
pub(super) struct Inbox {
    sender: SyncSender<Incoming>,
    replica: Thread,
}

impl Inbox {
    /// An inbox for the thread that calls this.
    pub(super) fn for_this_thread() -> (Self, Outlet) {
        let (sender, receiver) = sync_channel(CAPACITY);
        (Self { sender, replica: std::thread::current() }, Outlet { receiver })
    }

    /// Waits for room and puts a request in. `false`: the replica has stopped.
    pub(super) fn put(&self, incoming: Incoming) -> bool {
        let put = self.sender.send(incoming).is_ok();
        self.replica.unpark();
        put
    }

    /// Makes the replica's thread look around.
    pub(super) fn wake(&self) {
        self.replica.unpark();
    }
}

/// The replica's end.
#[derive(Debug)]
pub(super) struct Outlet {
    receiver: Receiver<Incoming>,
}

impl Outlet {
    /// The next request, if there is one.
    pub(super) fn take(&self) -> Option<Incoming> {
        // Never disconnected: the listener keeps one end as long as the server runs.
        self.receiver.try_recv().ok()
    }
}
