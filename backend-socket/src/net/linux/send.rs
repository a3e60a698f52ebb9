//! Sending: one `sendmmsg` for whatever waits, datagrams that may stay together in one piece.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use electrode_transport::engine::Transmit;

use super::Socket;
use super::address::RawAddress;
use super::pinned::Pinned;

/// The kernel takes no more in one call (`UIO_MAXIOV`, sendmmsg(2)).
const BATCH_MAX: usize = 1_024;

/// Datagrams that one message can be cut into (`UDP_MAX_SEGMENTS`; newer kernels take more).
const SEGMENTS_MAX: usize = 64;
/// For how long datagrams go one by one after the system has refused to cut a message.
const WHOLE_FOR: Duration = Duration::from_secs(1);
/// Bytes of such a message: what an IPv4 packet holds after its headers.
const PIECE_LEN_MAX: usize = 65_507;

/// Reusable message headers.
#[derive(Debug)]
pub(crate) struct SendBatch {
    headers: Pinned<libc::mmsghdr>,
    vectors: Pinned<libc::iovec>,
    names: Pinned<RawAddress>,
    segments: Pinned<SegmentLen>,
    /// How many datagrams each message holds.
    counts: Vec<usize>,
    /// When the system may be asked again to cut a message, after it has refused to.
    whole_until: Option<Instant>,
}

// SAFETY: the raw pointers in the headers lead only to memory that this batch owns, except during
// `send`, which has the datagrams borrowed.
unsafe impl Send for SendBatch {}

impl SendBatch {
    pub(crate) fn new() -> Self {
        // SAFETY: a message header is plain data for which zero is "nothing".
        let header: libc::mmsghdr = unsafe { mem::zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            headers: Pinned::new(vec![header; BATCH_MAX]),
            vectors: Pinned::new(vec![vector; BATCH_MAX]),
            names: Pinned::new(vec![RawAddress::EMPTY; BATCH_MAX]),
            segments: Pinned::new(vec![SegmentLen::of(0); BATCH_MAX]),
            counts: Vec::with_capacity(BATCH_MAX),
            whole_until: None,
        }
    }

    /// Hands datagrams to the system in one call; returns how many it took, at least one. Those of which
    /// `may_join` says that the second may leave in one piece with the first do.
    ///
    /// The error is that of the first datagram: `WouldBlock` if there is no room.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &Socket,
        datagrams: impl Iterator<Item = Transmit<'a>> + Clone,
        may_join: impl Fn(&[u8], &[u8]) -> bool,
    ) -> io::Result<usize> {
        let joins = self.whole_until.is_none_or(|until| until <= Instant::now());
        let total = self.prepare_all(datagrams.clone(), |one, next| joins && may_join(one, next));
        if total == 1 {
            return self.send_one(socket);
        }
        let sent = self.send_all(socket);
        let is_joined = self.counts.first().is_some_and(|&count| count > 1);
        match sent {
            Err(error) if is_joined && is_refusal(&error) => {
                self.prepare_all(datagrams, |_, _| false);
                let sent = self.send_all(socket)?;
                // It was the cutting, then. A path that has become narrower may widen again.
                tracing::debug!(%error, "the system does not cut this: datagrams go one by one");
                self.whole_until = Some(Instant::now() + WHOLE_FOR);
                Ok(sent)
            }
            sent => sent,
        }
    }

    /// Lays out messages; returns how many datagrams they hold.
    fn prepare_all<'a>(
        &mut self,
        datagrams: impl Iterator<Item = Transmit<'a>>,
        may_join: impl Fn(&[u8], &[u8]) -> bool,
    ) -> usize {
        self.counts.clear();
        let mut run: Option<Run<'_>> = None;
        let mut total = 0;
        for transmit in datagrams.take(BATCH_MAX) {
            let len = transmit.bytes.len();
            *self.vectors.get_mut(total) =
                libc::iovec { iov_base: transmit.bytes.as_ptr().cast_mut().cast(), iov_len: len };
            let joined = run.and_then(|run| run.with(&transmit, &may_join));
            let message = self.counts.len();
            if let (Some(_), Some(count)) = (joined, self.counts.last_mut()) {
                *count += 1;
                self.lengthen(message - 1, run.map_or(0, |run| run.segment_len));
            } else {
                self.counts.push(1);
                self.prepare(message, total, transmit.to);
            }
            run = Some(joined.unwrap_or_else(|| Run::of(&transmit)));
            total += 1;
        }
        total
    }

    /// All messages in one call.
    fn send_all(&self, socket: &Socket) -> io::Result<usize> {
        // SAFETY: the first headers, one for each count, point to names, vectors, control messages and
        // datagrams that live until the call returns; the kernel only reads them and writes `msg_len`.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.at(0),
                self.counts.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        Ok(self.counts.iter().take(sent).sum())
    }

    /// For a single one `sendto` copies less from user space: 0.2 us of a broadcast that the kernel
    /// clones, measured. By the system call itself: the C library's function lets the thread be cancelled
    /// in it, which nobody does here and which takes another 0.1 us.
    fn send_one(&self, socket: &Socket) -> io::Result<usize> {
        let (vector, header) = (self.vectors.get(0), &self.headers.get(0).msg_hdr);
        // SAFETY: vector and name were prepared just now, of a datagram that lives until the call
        // returns; the kernel only reads both.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_sendto,
                socket.as_raw_fd(),
                vector.iov_base,
                vector.iov_len,
                libc::MSG_DONTWAIT,
                header.msg_name,
                header.msg_namelen,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(1) }
    }

    /// A message that begins with a vector.
    fn prepare(&mut self, message: usize, vector: usize, to: SocketAddr) {
        let (name, name_len) = RawAddress::encode(to);
        *self.names.get_mut(message) = name;
        let (name, vector) = (self.names.at(message), self.vectors.at(vector));
        let header = &mut self.headers.get_mut(message).msg_hdr;
        header.msg_name = name.cast();
        header.msg_namelen = name_len;
        header.msg_iov = vector;
        header.msg_iovlen = 1;
        header.msg_control = std::ptr::null_mut();
        header.msg_controllen = 0;
    }

    /// One more vector for a message, which is to be cut into datagrams of so many bytes.
    fn lengthen(&mut self, message: usize, segment_len: usize) {
        let header = &mut self.headers.get_mut(message).msg_hdr;
        header.msg_iovlen += 1;
        if header.msg_controllen == 0 {
            *self.segments.get_mut(message) = SegmentLen::of(segment_len as u16);
            header.msg_control = self.segments.at(message).cast();
            header.msg_controllen = size_of::<SegmentLen>() as _;
        }
    }
}

/// Whether the system has refused to cut a message into datagrams that it may take one by one: on a
/// socket without checksums, through a transformation, beyond a limit of its own, or because they are
/// longer than the path takes and would have to be fragments (net/ipv4/udp.c, `udp_send_skb`; that last one
/// is EINVAL before Linux 6.14).
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE))
}

/// A control message that says how long the datagrams are which a message is cut into (udp(7),
/// `UDP_SEGMENT`, Linux 4.18). The last may be shorter.
#[derive(Clone, Copy)]
#[repr(C)]
struct SegmentLen {
    header: libc::cmsghdr,
    len: u16,
    /// Control messages are padded to a word (`CMSG_ALIGN`).
    padding: [u16; 3],
}

impl SegmentLen {
    fn of(len: u16) -> Self {
        // SAFETY: plain data for which zero is valid; it has private fields on some systems.
        let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
        header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<u16>()) as _;
        header.cmsg_level = libc::SOL_UDP;
        header.cmsg_type = libc::UDP_SEGMENT;
        Self { header, len, padding: [0; 3] }
    }
}

/// The message that is being laid out.
#[derive(Clone, Copy)]
struct Run<'a> {
    last: Transmit<'a>,
    segment_len: usize,
    count: usize,
    len: usize,
}

impl<'a> Run<'a> {
    fn of(transmit: &Transmit<'a>) -> Self {
        let len = transmit.bytes.len();
        Self { last: *transmit, segment_len: len, count: 1, len }
    }

    /// With one more, if it fits: all are of one length but the last, which may be shorter.
    fn with(self, next: &Transmit<'a>, may_join: impl Fn(&[u8], &[u8]) -> bool) -> Option<Self> {
        let len = self.len + next.bytes.len();
        let fits = next.to == self.last.to
            && self.last.bytes.len() == self.segment_len
            && (1..=self.segment_len).contains(&next.bytes.len())
            && self.count < SEGMENTS_MAX
            && len <= PIECE_LEN_MAX;
        (fits && may_join(self.last.bytes, next.bytes)).then_some(Self {
            last: *next,
            count: self.count + 1,
            len,
            ..self
        })
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
