//! The wire: one fixed 72-byte little-endian header, then the body.
//!
//! Both backends speak it, so socket and eBPF members mix in one group. Version 1:
//!
//! | offset | bytes | field | why it is there |
//! |---|---|---|---|
//! | 0 | 4 | magic `ELTR` | other traffic on our port is told apart by one comparison |
//! | 4 | 1 | version | a rolling upgrade drops what it cannot read instead of guessing |
//! | 5 | 1 | kind | which of the six frames ([`FrameKind`]) |
//! | 6 | 1 | sender | the sender's [`MemberIndex`](crate::MemberIndex), checked against its address |
//! | 7 | 1 | flags | tagged, gap; unknown bits are refused |
//! | 8 | 8 | cluster | a frame of another deployment never reaches a rule |
//! | 16 | 4 | incarnation | indices mean something only within one membership |
//! | 20 | 4 | group | one endpoint serves many logs |
//! | 24 | 8 | ballot | who leads |
//! | 32 | 8 | first | see [`FrameKind`] |
//! | 40 | 8 | last | see [`FrameKind`] |
//! | 48 | 8 | commit | the leader's commit slot |
//! | 56 | 2 | body length | must equal what follows the header, to the byte |
//! | 58 | 1 | destination | the receiver's index, or 255 for everybody: the kernel clones one frame for all |
//! | 59 | 5 | reserved | zero |
//! | 64 | 8 | tag | SipHash-2-4 of the frame with this field zero, or zero if no key is configured |

#[cfg(all(test, feature = "std"))]
mod golden_tests;
mod header;
mod tag;

pub use header::{DESTINATION_ALL, FrameKind, HEADER_WORDS, Header, WireError, flags};
pub use tag::{Key, Tagger, tag_frame};

/// `ELTR` as a little-endian word.
pub const MAGIC: u32 = u32::from_le_bytes(*b"ELTR");
/// The version that this crate speaks.
pub const VERSION: u8 = 1;
/// Bytes of header before a frame's body.
pub const HEADER_LEN: usize = 72;
/// The longest body that the length field allows and UDP over IPv4 carries.
pub const BODY_LEN_MAX: usize = 65_507 - HEADER_LEN;
/// The most slots that one frame may cover.
pub const SLOTS_PER_FRAME_MAX: u64 = 65_536;
