//! Encoding and decoding of the header, and what makes one malformed.

use core::mem::offset_of;

use super::{BODY_LEN_MAX, HEADER_LEN, MAGIC, SLOTS_PER_FRAME_MAX, VERSION};
use crate::ident::{Ballot, ClusterId, GroupId, Incarnation, MemberIndex, Slot};

/// The destination of a frame that is meant for every member.
pub const DESTINATION_ALL: u8 = 255;

/// Bits of the header's `flags`.
pub mod flags {
    /// The `tag` field holds a SipHash-2-4 of the frame.
    pub const TAGGED: u8 = 1;
    /// On [`Accepted`](super::FrameKind::Accepted): a frame beyond the next expected slot arrived,
    /// so the one in between was lost or overtaken.
    pub const GAP: u8 = 2;

    pub(crate) const KNOWN: u8 = TAGGED | GAP;
}

/// What a frame is, and so what `first`, `last` and `commit` mean in it. Those without a meaning
/// are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// Leader to all: store slots `first..=last` (phase 2a, AppendEntries, Prepare).
    Accept = 1,
    /// Follower to leader: stored through `last`, expecting `first` next (phase 2b).
    Accepted = 2,
    /// Leader to all: do you still follow this ballot? `first` numbers the probe; 0 asks only for
    /// the follower's position and confirms nothing.
    Probe = 3,
    /// Follower to leader: yes, to probe `first`; stored through `last`, expecting `commit` next.
    ProbeAck = 4,
    /// Anybody to a leader: your ballot is over, I promised the one in `first`.
    Refused = 5,
    /// The library's own message; ballot and slots are zero.
    Message = 6,
}

impl FrameKind {
    #[inline(always)]
    const fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Accept,
            2 => Self::Accepted,
            3 => Self::Probe,
            4 => Self::ProbeAck,
            5 => Self::Refused,
            6 => Self::Message,
            _ => return None,
        })
    }
}

/// Why some bytes are not a frame. Each has its own counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[cfg_attr(feature = "std", derive(thiserror::Error))]
#[non_exhaustive]
pub enum WireError {
    /// Shorter than a header.
    #[cfg_attr(feature = "std", error("shorter than a header"))]
    Truncated,
    /// Not ours at all.
    #[cfg_attr(feature = "std", error("wrong magic: not an Electrode frame"))]
    Magic,
    /// A version that this build does not speak.
    #[cfg_attr(feature = "std", error("wire version not spoken by this build"))]
    Version,
    /// A frame kind, flag or reserved byte that version 1 does not define, or a tag without its flag.
    #[cfg_attr(feature = "std", error("unknown frame kind, flag or reserved bits"))]
    Unknown,
    /// The body length does not match the datagram, or the kind allows no body.
    #[cfg_attr(feature = "std", error("body length does not match the datagram"))]
    Length,
    /// Slots, ballot or probe out of the range that the kind allows.
    #[cfg_attr(feature = "std", error("slots or ballot out of the range that the kind allows"))]
    Range,
}

/// A decoded header. `body_len` and `tagged` have been checked against the datagram; who sent it
/// has not: that is [`Gate`](crate::rules::Gate)'s work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What the frame is.
    pub kind: FrameKind,
    /// The sender's index, unchecked.
    pub sender: MemberIndex,
    /// Bits of [`flags`].
    pub flags: u8,
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The membership that `sender` and `destination` index.
    pub incarnation: Incarnation,
    /// Which log.
    pub group: GroupId,
    /// The ballot; [`Ballot::NONE`] only on [`FrameKind::Message`].
    pub ballot: Ballot,
    /// See [`FrameKind`].
    pub first: Slot,
    /// See [`FrameKind`].
    pub last: Slot,
    /// See [`FrameKind`].
    pub commit: Slot,
    /// Bytes of body after the header.
    pub body_len: u16,
    /// The receiver's index, or [`DESTINATION_ALL`].
    pub destination: u8,
    /// The tag, zero if the frame carries none.
    pub tag: u64,
}

/// The header as it lies in memory and on the wire: the layout is asserted below.
#[repr(C)]
struct Layout {
    magic: [u8; 4],
    version: u8,
    kind: u8,
    sender: u8,
    flags: u8,
    cluster: [u8; 8],
    incarnation: [u8; 4],
    group: [u8; 4],
    ballot: [u8; 8],
    first: [u8; 8],
    last: [u8; 8],
    commit: [u8; 8],
    body_len: [u8; 2],
    destination: u8,
    reserved: [u8; 5],
    tag: [u8; 8],
}

const _: () = {
    assert!(size_of::<Layout>() == HEADER_LEN && align_of::<Layout>() == 1);
    assert!(offset_of!(Layout, magic) == 0 && offset_of!(Layout, version) == 4);
    assert!(offset_of!(Layout, kind) == 5 && offset_of!(Layout, sender) == 6);
    assert!(offset_of!(Layout, flags) == 7 && offset_of!(Layout, cluster) == 8);
    assert!(offset_of!(Layout, incarnation) == 16 && offset_of!(Layout, group) == 20);
    assert!(offset_of!(Layout, ballot) == 24 && offset_of!(Layout, first) == 32);
    assert!(offset_of!(Layout, last) == 40 && offset_of!(Layout, commit) == 48);
    assert!(offset_of!(Layout, body_len) == 56 && offset_of!(Layout, destination) == 58);
    assert!(offset_of!(Layout, reserved) == 59 && offset_of!(Layout, tag) == 64);
    assert!(BODY_LEN_MAX <= u16::MAX as usize);
};

/// The header's 64-bit words. Both sides read and write it by these: a word is one load or one store,
/// on the wire little-endian, and a kernel program has no loop over bytes to walk.
pub const HEADER_WORDS: usize = HEADER_LEN / 8;

/// `N` bytes of a word, from byte `at`.
#[inline(always)]
const fn bits<const N: u32>(word: u64, at: usize) -> u64 {
    word >> (8 * (at % 8)) & (u64::MAX >> (64 - 8 * N))
}

/// A value at byte `at` of its word.
#[inline(always)]
const fn put(value: u64, at: usize) -> u64 {
    value << (8 * (at % 8))
}

impl Header {
    /// Reads a frame: the header, and the body that follows it in `datagram`.
    ///
    /// # Errors
    /// [`WireError`] names the first thing that is wrong. Any bytes give a frame or an error.
    #[inline]
    pub fn decode(datagram: &[u8]) -> Result<(Self, &[u8]), WireError> {
        let Some((head, body)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            return Err(WireError::Truncated);
        };
        let header = Self::decode_head(head)?;
        if header.body_len as usize != body.len() {
            return Err(WireError::Length);
        }
        Ok((header, body))
    }

    /// Reads a header alone. The caller compares `body_len` with what the datagram holds.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    #[inline(always)]
    pub fn decode_head(head: &[u8; HEADER_LEN]) -> Result<Self, WireError> {
        let mut words = [0; HEADER_WORDS];
        let (chunks, _) = head.as_chunks();
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = u64::from_le_bytes(*chunk);
        }
        Self::from_words(&words)
    }

    /// As [`decode_head`](Self::decode_head), of the words that [`to_words`](Self::to_words) gives.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    #[inline(always)]
    pub fn from_words(words: &[u64; HEADER_WORDS]) -> Result<Self, WireError> {
        let [first, cluster, scope, ballot, from, to, commit, body, tag] = *words;
        if bits::<4>(first, offset_of!(Layout, magic)) != MAGIC as u64 {
            return Err(WireError::Magic);
        }
        if bits::<1>(first, offset_of!(Layout, version)) != VERSION as u64 {
            return Err(WireError::Version);
        }
        let kind = FrameKind::from_wire(bits::<1>(first, offset_of!(Layout, kind)) as u8);
        let Some(kind) = kind else { return Err(WireError::Unknown) };
        let flags = bits::<1>(first, offset_of!(Layout, flags)) as u8;
        let reserved = bits::<5>(body, offset_of!(Layout, reserved));
        if flags & !flags::KNOWN != 0 || reserved != 0 {
            return Err(WireError::Unknown);
        }
        if flags & flags::GAP != 0 && !matches!(kind, FrameKind::Accepted) {
            return Err(WireError::Unknown);
        }
        let header = Self {
            kind,
            sender: MemberIndex(bits::<1>(first, offset_of!(Layout, sender)) as u8),
            flags,
            cluster: ClusterId(cluster),
            incarnation: Incarnation(bits::<4>(scope, offset_of!(Layout, incarnation)) as u32),
            group: GroupId(bits::<4>(scope, offset_of!(Layout, group)) as u32),
            ballot: Ballot(ballot),
            first: Slot(from),
            last: Slot(to),
            commit: Slot(commit),
            body_len: bits::<2>(body, offset_of!(Layout, body_len)) as u16,
            destination: bits::<1>(body, offset_of!(Layout, destination)) as u8,
            tag,
        };
        header.check()?;
        Ok(header)
    }

    /// Writes the header to the front of a frame.
    #[inline]
    pub fn encode(&self, out: &mut [u8; HEADER_LEN]) {
        let (chunks, _) = out.as_chunks_mut();
        for (chunk, word) in chunks.iter_mut().zip(self.to_words()) {
            *chunk = word.to_le_bytes();
        }
    }

    /// The header as words, which on the wire are little-endian.
    #[inline(always)]
    #[must_use]
    pub const fn to_words(&self) -> [u64; HEADER_WORDS] {
        [
            put(MAGIC as u64, offset_of!(Layout, magic))
                | put(VERSION as u64, offset_of!(Layout, version))
                | put(self.kind as u64, offset_of!(Layout, kind))
                | put(self.sender.0 as u64, offset_of!(Layout, sender))
                | put(self.flags as u64, offset_of!(Layout, flags)),
            self.cluster.0,
            put(self.incarnation.0 as u64, offset_of!(Layout, incarnation))
                | put(self.group.0 as u64, offset_of!(Layout, group)),
            self.ballot.0,
            self.first.0,
            self.last.0,
            self.commit.0,
            put(self.body_len as u64, offset_of!(Layout, body_len))
                | put(self.destination as u64, offset_of!(Layout, destination)),
            self.tag,
        ]
    }

    /// Whether the frame carries a tag.
    #[inline(always)]
    #[must_use]
    pub const fn is_tagged(&self) -> bool {
        self.flags & flags::TAGGED != 0
    }

    /// The ranges that each kind allows, so that no rule ever sees a slot it cannot count past.
    #[inline(always)]
    fn check(&self) -> Result<(), WireError> {
        if !self.is_tagged() && self.tag != 0 {
            return Err(WireError::Unknown);
        }
        if self.body_len as usize > BODY_LEN_MAX {
            return Err(WireError::Length);
        }
        let may_have_body = matches!(self.kind, FrameKind::Accept | FrameKind::Message);
        if !may_have_body && self.body_len != 0 {
            return Err(WireError::Length);
        }
        let within = match self.kind {
            FrameKind::Accept => {
                self.first.0 >= 1
                    && self.first.0 <= self.last.0
                    && self.last.0 <= Slot::MAX.0
                    && self.last.0 - self.first.0 < SLOTS_PER_FRAME_MAX
            }
            FrameKind::Accepted => self.last.0 < self.first.0 && self.commit.0 == 0,
            FrameKind::Probe => self.last.0 == 0 && self.first.0 <= Slot::MAX.0,
            FrameKind::ProbeAck => self.last.0 < self.commit.0 && self.first.0 <= Slot::MAX.0,
            FrameKind::Refused => {
                self.first.0 > self.ballot.0 && self.last.0 == 0 && self.commit.0 == 0
            }
            FrameKind::Message => self.first.0 == 0 && self.last.0 == 0 && self.commit.0 == 0,
        };
        let is_message = matches!(self.kind, FrameKind::Message);
        if !within || (self.ballot.0 == 0) != is_message {
            return Err(WireError::Range);
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "std"))]
#[path = "header_tests.rs"]
mod tests;
