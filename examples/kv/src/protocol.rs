//! What clients and servers say to each other over TCP.
//!
//! A client begins with [`GREETING`]. After that both sides send frames: a length (u32,
//! little-endian, at most [`FRAME_LEN_MAX`]) and a body. Requests carry a number that the response
//! repeats; many may be outstanding, and responses come in any order.

use std::io::{self, Read, Write};

use crate::codec::{Decoder, Encoder, Malformed};

/// The first bytes of a connection: a name and the protocol's version.
pub(crate) const GREETING: [u8; 8] = *b"EKVCLNT\x01";

/// The longest frame either side accepts.
pub(crate) const FRAME_LEN_MAX: usize = 1 << 20;

/// A request, and the number by which its response is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) body: RequestBody,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RequestBody {
    /// Execute a command once: whoever repeats it with the same session and sequence is told the
    /// first execution's answer.
    Execute { session: u64, sequence: u64, command: Vec<u8> },
    /// Answer a query linearizably. Only the leader can.
    Read { query: Vec<u8> },
    /// Answer a query from the asked replica's own state, once that contains slot `at_least`.
    ReadHere { at_least: u64, query: Vec<u8> },
    /// How the asked replica sees itself.
    Status,
    /// Open a session. A client executes one command at a time in each.
    Open,
}

/// A response to the request of the same number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Response {
    pub(crate) id: u64,
    pub(crate) body: ResponseBody,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ResponseBody {
    /// Done. The answering state contains every slot through `slot`.
    Answer { slot: u64, answer: Vec<u8> },
    /// Ask the leader; its client address if it is known.
    Redirect { leader: Option<String> },
    /// The replica has as much to do as it takes: try again shortly.
    Busy,
    /// The command is longer than one slot holds. Nothing was done.
    TooLarge { len: u64, max: u64 },
    /// The request cannot be served, and trying again does not help.
    Refused { why: String },
    /// How the replica sees itself.
    Status(Status),
    /// The session that was opened.
    Opened { session: u64 },
    /// The session is unknown, or has made room for others.
    Expired,
}

/// How a replica sees itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Status {
    pub(crate) cluster: u64,
    pub(crate) node: u64,
    pub(crate) role: String,
    pub(crate) leader: Option<u64>,
    pub(crate) ballot: u64,
    /// Every slot through this one is chosen.
    pub(crate) chosen: u64,
    /// Every slot through this one is in the state.
    pub(crate) applied: u64,
    pub(crate) keys: u64,
    pub(crate) writes: u64,
    pub(crate) digest: u64,
    /// Repeated commands that were answered from the session table and not executed again.
    pub(crate) repeats: u64,
    pub(crate) mode: String,
    pub(crate) backend: String,
    /// Why that backend.
    pub(crate) backend_why: String,
    /// The longest command, in bytes.
    pub(crate) command_len_max: u64,
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match &self.body {
            RequestBody::Execute { session, sequence, command } => {
                Encoder::new(1).u64(self.id).u64(*session).u64(*sequence).bytes(command).finish()
            }
            RequestBody::Read { query } => Encoder::new(2).u64(self.id).bytes(query).finish(),
            RequestBody::ReadHere { at_least, query } => {
                Encoder::new(3).u64(self.id).u64(*at_least).bytes(query).finish()
            }
            RequestBody::Status => Encoder::new(4).u64(self.id).finish(),
            RequestBody::Open => Encoder::new(5).u64(self.id).finish(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let kind = from.u8()?;
        let id = from.u64()?;
        let body = match kind {
            1 => RequestBody::Execute {
                session: from.u64()?,
                sequence: from.u64()?,
                command: from.bytes()?.to_vec(),
            },
            2 => RequestBody::Read { query: from.bytes()?.to_vec() },
            3 => RequestBody::ReadHere { at_least: from.u64()?, query: from.bytes()?.to_vec() },
            4 => RequestBody::Status,
            5 => RequestBody::Open,
            _ => return Err(Malformed("an unknown request")),
        };
        from.finish()?;
        Ok(Self { id, body })
    }
}

impl Response {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match &self.body {
            ResponseBody::Answer { slot, answer } => {
                Encoder::new(1).u64(self.id).u64(*slot).bytes(answer).finish()
            }
            ResponseBody::Redirect { leader } => Encoder::new(2)
                .u64(self.id)
                .optional(leader.as_ref().map(String::as_bytes))
                .finish(),
            ResponseBody::Busy => Encoder::new(3).u64(self.id).finish(),
            ResponseBody::TooLarge { len, max } => {
                Encoder::new(4).u64(self.id).u64(*len).u64(*max).finish()
            }
            ResponseBody::Refused { why } => {
                Encoder::new(5).u64(self.id).bytes(why.as_bytes()).finish()
            }
            ResponseBody::Status(status) => status.encode(Encoder::new(6).u64(self.id)).finish(),
            ResponseBody::Opened { session } => Encoder::new(7).u64(self.id).u64(*session).finish(),
            ResponseBody::Expired => Encoder::new(8).u64(self.id).finish(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let kind = from.u8()?;
        let id = from.u64()?;
        let body = match kind {
            1 => ResponseBody::Answer { slot: from.u64()?, answer: from.bytes()?.to_vec() },
            2 => {
                let leader = if from.flag()? { Some(from.text()?.to_owned()) } else { None };
                ResponseBody::Redirect { leader }
            }
            3 => ResponseBody::Busy,
            4 => ResponseBody::TooLarge { len: from.u64()?, max: from.u64()? },
            5 => ResponseBody::Refused { why: from.text()?.to_owned() },
            6 => ResponseBody::Status(Status::decode(&mut from)?),
            7 => ResponseBody::Opened { session: from.u64()? },
            8 => ResponseBody::Expired,
            _ => return Err(Malformed("an unknown response")),
        };
        from.finish()?;
        Ok(Self { id, body })
    }
}

impl Status {
    fn numbers(&self) -> [u64; 10] {
        [
            self.cluster,
            self.node,
            self.ballot,
            self.chosen,
            self.applied,
            self.keys,
            self.writes,
            self.digest,
            self.repeats,
            self.command_len_max,
        ]
    }

    fn encode(&self, to: Encoder) -> Encoder {
        let to = self.numbers().into_iter().fold(to, Encoder::u64);
        let to = to.u8(u8::from(self.leader.is_some())).u64(self.leader.unwrap_or_default());
        [&self.role, &self.mode, &self.backend, &self.backend_why]
            .into_iter()
            .fold(to, |to, text| to.bytes(text.as_bytes()))
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut numbers = [0; 10];
        for number in &mut numbers {
            *number = from.u64()?;
        }
        let [cluster, node, ballot, chosen, applied, keys, writes, digest, repeats, max] = numbers;
        let leads = from.flag()?;
        let leader = from.u64()?;
        Ok(Self {
            cluster,
            node,
            ballot,
            chosen,
            applied,
            keys,
            writes,
            digest,
            repeats,
            command_len_max: max,
            leader: leads.then_some(leader),
            role: from.text()?.to_owned(),
            mode: from.text()?.to_owned(),
            backend: from.text()?.to_owned(),
            backend_why: from.text()?.to_owned(),
        })
    }
}

/// Appends a frame to a buffer, so that many go out in one write.
pub(crate) fn push_frame(buffer: &mut Vec<u8>, body: &[u8]) {
    buffer.extend_from_slice(&(body.len() as u32).to_le_bytes());
    buffer.extend_from_slice(body);
}

/// Reads one frame; `None` at a clean end between two.
pub(crate) fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 4];
    let mut read = 0;
    while read < head.len() {
        match from.read(&mut head[read..]) {
            Ok(0) if read == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let len = u32::from_le_bytes(head) as usize;
    if len > FRAME_LEN_MAX {
        let why = format!("a frame of {len} bytes; the limit is {FRAME_LEN_MAX}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let mut body = vec![0; len];
    from.read_exact(&mut body)?;
    Ok(Some(body))
}

/// Greets the server.
pub(crate) fn greet(to: &mut impl Write) -> io::Result<()> {
    to.write_all(&GREETING)
}

/// Checks that it is a client of this protocol that has connected.
pub(crate) fn expect_greeting(from: &mut impl Read) -> io::Result<()> {
    let mut greeting = [0; GREETING.len()];
    from.read_exact(&mut greeting)?;
    if greeting != GREETING {
        let why = "not a client of this protocol, or of another version";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        Status {
            cluster: 1,
            node: 2,
            role: "leader".into(),
            leader: Some(2),
            ballot: 3,
            chosen: 4,
            applied: 5,
            keys: 6,
            writes: 7,
            digest: 8,
            repeats: 9,
            mode: "persisted".into(),
            backend: "socket".into(),
            backend_why: "asked for".into(),
            command_len_max: 10,
        }
    }

    #[test]
    fn requests_and_responses_come_back_as_they_were() {
        for body in [
            RequestBody::Execute { session: 1, sequence: 2, command: vec![3] },
            RequestBody::Read { query: vec![4] },
            RequestBody::ReadHere { at_least: 5, query: Vec::new() },
            RequestBody::Status,
            RequestBody::Open,
        ] {
            let request = Request { id: 77, body };
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        for body in [
            ResponseBody::Answer { slot: 1, answer: vec![2] },
            ResponseBody::Redirect { leader: None },
            ResponseBody::Redirect { leader: Some("127.0.0.1:1".into()) },
            ResponseBody::Busy,
            ResponseBody::TooLarge { len: 5, max: 4 },
            ResponseBody::Refused { why: "no".into() },
            ResponseBody::Opened { session: 6 },
            ResponseBody::Expired,
            ResponseBody::Status(status()),
            ResponseBody::Status(Status { leader: None, ..status() }),
        ] {
            let response = Response { id: 78, body };
            assert_eq!(Response::decode(&response.encode()), Ok(response));
        }
    }

    #[test]
    fn frames_end_cleanly_or_say_what_is_wrong() {
        let mut bytes = Vec::new();
        push_frame(&mut bytes, b"one");
        push_frame(&mut bytes, b"");
        let mut from = &bytes[..];
        assert_eq!(read_frame(&mut from).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(read_frame(&mut from).unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(read_frame(&mut from).unwrap(), None);
        let cut = read_frame(&mut &bytes[..2]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        let huge = read_frame(&mut &u32::MAX.to_le_bytes()[..]).unwrap_err();
        assert_eq!(huge.kind(), io::ErrorKind::InvalidData);
        assert!(expect_greeting(&mut &b"GET / HTTP/1.1"[..]).is_err());
    }
}
