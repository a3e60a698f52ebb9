//! Pinned mode: programs, rings and state outlive the process, and the next one takes them over.
//!
//! - **Where**: a folder on a BPF file system, see [`folder`].
//! - **What**: everything that user space needs (programs, boards, groups' state, rings, links), the
//!   [`charter`] that says what it was made for, and for each group a
//!   [`shelf`] with the entries that the library has not taken yet.
//! - **When**: the maps and programs get their name all at once; links and shelves come and go later, one
//!   step each, and each state in between is one that the next process understands: a link that is
//!   missing is made anew, a shelf without an open group is removed.
//! - **Until when**: [`EbpfEndpoint::close`](crate::EbpfEndpoint::close) removes all of it. Whatever
//!   else ends the process, down to `kill -9`, leaves it, and the groups' leases end the
//!   acknowledgements.

mod charter;
mod folder;
mod found;
mod pins;
mod resume;
mod shelf;
mod take_over;

use electrode_transport::GroupId;

pub(crate) use charter::Charter;
pub(crate) use folder::Folder;
pub(crate) use pins::Pins;
pub(crate) use resume::{discard, log_limit, resume};
pub(crate) use shelf::Shelf;
pub(crate) use take_over::{Start, start};

/// A pinned group that nobody has opened in this life.
#[derive(Debug)]
pub(crate) struct Dormant {
    pub(crate) group: GroupId,
    pub(crate) shelf: Box<Shelf>,
}
