//! Admission (invariant 10): who may reach the rules.

use crate::ident::{ClusterId, Incarnation, MEMBERS_MAX, MemberIndex};
use crate::wire::{DESTINATION_ALL, Header};

/// Why a well-formed frame does not reach the rules. Each has its own counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[non_exhaustive]
pub enum Refusal {
    /// Another deployment's frame.
    ForeignCluster = 1,
    /// From a membership that this node has left behind.
    StaleIncarnation,
    /// From a membership that this node has not heard of yet.
    FutureIncarnation,
    /// The sender's index names no other member.
    NotMember,
    /// The frame is addressed to another member.
    Misdirected,
    /// The sender's address is not the member's.
    WrongAddress,
    /// A key is configured and the tag is missing or wrong, or a tag came and no key is configured.
    BadTag,
}

/// What a frame must match to reach the rules of one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Gate {
    /// This deployment.
    pub cluster: ClusterId,
    /// The membership in force.
    pub incarnation: Incarnation,
    /// This node's own index.
    pub own: MemberIndex,
    /// How many members the membership has, 1 to 32.
    pub members: u8,
    /// One if a key is configured, else zero.
    pub keyed: u8,
    /// Zero.
    pub reserved: u8,
}

const _: () = assert!(size_of::<Gate>() == 16);

impl Gate {
    /// The gate as it lies in memory on a little-endian machine, in 64-bit words.
    #[inline(always)]
    #[must_use]
    pub const fn to_words(&self) -> [u64; 2] {
        let i = self.incarnation.0.to_le_bytes();
        let rest = [i[0], i[1], i[2], i[3], self.own.0, self.members, self.keyed, self.reserved];
        [self.cluster.0, u64::from_le_bytes(rest)]
    }

    /// The gate that [`to_words`](Self::to_words) gave.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        let [i0, i1, i2, i3, own, members, keyed, reserved] = words[1].to_le_bytes();
        Self {
            cluster: ClusterId(words[0]),
            incarnation: Incarnation(u32::from_le_bytes([i0, i1, i2, i3])),
            own: MemberIndex(own),
            members,
            keyed,
            reserved,
        }
    }

    /// Checks everything about a frame of this group except address and tag, which the caller
    /// compares with the returned member's: only it can see them.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    #[inline(always)]
    pub fn admit(&self, header: &Header) -> Result<MemberIndex, Refusal> {
        if header.cluster.0 != self.cluster.0 {
            return Err(Refusal::ForeignCluster);
        }
        if header.incarnation.0 < self.incarnation.0 {
            return Err(Refusal::StaleIncarnation);
        }
        if header.incarnation.0 > self.incarnation.0 {
            return Err(Refusal::FutureIncarnation);
        }
        if header.is_tagged() != (self.keyed != 0) {
            return Err(Refusal::BadTag);
        }
        let sender = header.sender.0;
        if sender as usize >= MEMBERS_MAX || sender >= self.members || sender == self.own.0 {
            return Err(Refusal::NotMember);
        }
        if header.destination != DESTINATION_ALL && header.destination != self.own.0 {
            return Err(Refusal::Misdirected);
        }
        Ok(header.sender)
    }
}

#[cfg(all(test, feature = "std"))]
#[path = "gate_tests.rs"]
mod tests;
