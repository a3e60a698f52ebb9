//! One connection to one server, with a thread that reads it.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::codec::Malformed;
use crate::protocol::{Request, RequestBody, Response, greet, push_frame, read_frame};

/// What comes from a server.
#[derive(Debug)]
pub(super) enum Heard {
    Response(Response),
    /// Not of this protocol.
    Malformed(Malformed),
    /// The connection has ended, and how.
    Ended(String),
}

/// What came, and under which generation its connection was opened.
pub(super) type Numbered = (u64, Heard);

/// An open connection. Dropping it closes it and ends its thread.
#[derive(Debug)]
pub(super) struct Connection {
    server: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
    reader: Option<JoinHandle<()>>,
}

impl Connection {
    /// Connects and greets. What the server says goes to `heard` under `generation`.
    pub(super) fn open(
        server: SocketAddr,
        timeout: Duration,
        generation: u64,
        heard: Sender<Numbered>,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&server, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(timeout))?;
        greet(&mut stream)?;
        let reading = stream.try_clone()?;
        let reader =
            std::thread::Builder::new().name("electrode-kv-reader".into()).spawn(move || {
                // A receiver that has gone needs nothing more.
                read_all(reading, server, |what| heard.send((generation, what)).is_ok());
            })?;
        Ok(Self { server, stream, buffer: Vec::new(), reader: Some(reader) })
    }

    pub(super) const fn server(&self) -> SocketAddr {
        self.server
    }

    pub(super) fn push(&mut self, id: u64, body: RequestBody) {
        push_frame(&mut self.buffer, &Request { id, body }.encode());
    }

    /// Sends what was pushed, in one piece.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.stream.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The other side may have closed it already; the reader ends either way.
        let _closed = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ended = reader.join();
        }
    }
}

fn read_all(stream: TcpStream, server: SocketAddr, mut tell: impl FnMut(Heard) -> bool) {
    let mut stream = BufReader::with_capacity(64 << 10, stream);
    loop {
        let (heard, last) = match read_frame(&mut stream) {
            Ok(Some(frame)) => match Response::decode(&frame) {
                Ok(response) => (Heard::Response(response), false),
                Err(error) => (Heard::Malformed(error), true),
            },
            Ok(None) => (Heard::Ended(format!("{server} closed the connection")), true),
            Err(error) => (Heard::Ended(format!("{server}: {error}")), true),
        };
        if !tell(heard) || last {
            return;
        }
    }
}
