//! One client's connection: a thread that reads requests, a thread that writes responses.
//!
//! Everything is bounded. A client with too many requests under way, or that does not read its
//! responses, is not read from; the replica's inbox is a bounded channel, and whoever reads a
//! connection waits for room in it. TCP carries the pressure back to the client.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::protocol::{Request, Response, ResponseBody, expect_greeting, push_frame, read_frame};
use crate::server::inbox::{Inbox, Incoming};

/// Requests of one client under way at once.
const UNDER_WAY_MAX: usize = 4_096;
/// Response bytes that may wait to be written to one client.
const UNWRITTEN_MAX: usize = 4 << 20;

/// What a connection's threads and the replica share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    unwritten: Vec<u8>,
    under_way: usize,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        ready: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        while !ready(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }
}

/// Where the response to one request goes. Answering never waits. One that is dropped unanswered
/// tells its client to ask again.
#[derive(Debug)]
pub(super) struct ReplyTo {
    shared: Arc<Shared>,
    id: u64,
    answered: bool,
}

impl ReplyTo {
    pub(super) fn send(mut self, body: ResponseBody) {
        self.answer(body);
    }

    fn answer(&mut self, body: ResponseBody) {
        self.answered = true;
        let response = Response { id: self.id, body }.encode();
        let mut state = self.shared.state();
        state.under_way -= 1;
        push_frame(&mut state.unwritten, &response);
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(ResponseBody::Busy);
        }
    }
}

/// Serves one client until it goes or misbehaves.
pub(super) fn serve(stream: TcpStream, inbox: &Inbox) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let shared = Arc::new(Shared { state: Mutex::new(State::default()), changed: Condvar::new() });
    let writer = {
        let (shared, stream) = (Arc::clone(&shared), stream.try_clone()?);
        let name = std::thread::Builder::new().name("kv-client-out".into());
        name.spawn(move || {
            let written = write_all(&shared, &stream);
            shared.close();
            // Ends the reader too, if it was the writing that failed.
            let _closed = stream.shutdown(Shutdown::Both);
            written
        })?
    };
    let read = read_all(&shared, &stream, inbox);
    shared.close();
    match writer.join() {
        Ok(written) => read.and(written),
        Err(_) => read,
    }
}

fn read_all(shared: &Arc<Shared>, stream: &TcpStream, inbox: &Inbox) -> io::Result<()> {
    let mut from = BufReader::with_capacity(64 << 10, stream);
    expect_greeting(&mut from)?;
    while let Some(frame) = read_frame(&mut from)? {
        let request = Request::decode(&frame)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut state = shared.wait_until(shared.state(), |state| {
            state.closed || state.under_way < UNDER_WAY_MAX && state.unwritten.len() < UNWRITTEN_MAX
        });
        if state.closed {
            break;
        }
        state.under_way += 1;
        drop(state);
        let reply = ReplyTo { shared: Arc::clone(shared), id: request.id, answered: false };
        if !inbox.put(Incoming { body: request.body, reply }) {
            break;
        }
    }
    Ok(())
}

fn write_all(shared: &Shared, mut stream: &TcpStream) -> io::Result<()> {
    loop {
        let mut state =
            shared.wait_until(shared.state(), |state| state.closed || !state.unwritten.is_empty());
        let bytes = std::mem::take(&mut state.unwritten);
        let closed = state.closed;
        drop(state);
        // Room for the reader again.
        shared.changed.notify_all();
        stream.write_all(&bytes)?;
        if closed {
            return Ok(());
        }
    }
}
