//! How far each member has come, kept so that the quorum's mark is one walk.
//!
//! The members stay sorted, furthest first: a mark that rises moves its member forward, and the
//! quorum's mark is that of the member at which the walk from the front has met every voter set.
//! Counting for each mark instead is a loop in a loop, and the BPF verifier (Linux 6.18) gives up on
//! it after a million instructions.

use super::tally::Voters;
use crate::ident::{MEMBERS_MAX, MemberIndex};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub(super) struct Marks {
    level: [u64; MEMBERS_MAX],
    /// A permutation of the indices, by falling level.
    order: [u8; MEMBERS_MAX],
}

impl Default for Marks {
    fn default() -> Self {
        let mut order = [0; MEMBERS_MAX];
        for (index, place) in order.iter_mut().enumerate() {
            *place = index as u8;
        }
        Self { level: [0; MEMBERS_MAX], order }
    }
}

/// One if `count` is below `needed`, else zero.
#[inline(always)]
const fn is_short(count: u32, needed: u32) -> u64 {
    (count as u64).wrapping_sub(needed as u64) >> 63
}

impl Marks {
    /// Forgets every mark.
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        for index in 0..MEMBERS_MAX {
            self.level[index] = 0;
            self.order[index] = index as u8;
        }
    }

    /// A member's mark; zero if it has none.
    #[inline(always)]
    pub(super) fn of(&self, member: MemberIndex) -> u64 {
        self.level.get(member.0 as usize).copied().unwrap_or(0)
    }

    /// Raises the mark of one of the first `members`. A mark never falls.
    ///
    /// Members are in the first places always: nobody has a mark but members, and whoever moves, moves
    /// forward past one that is behind.
    #[inline(always)]
    pub(super) fn raise(&mut self, member: MemberIndex, level: u64, members: u32) {
        let Some(mark) = self.level.get_mut(member.0 as usize) else { return };
        if level <= *mark {
            return;
        }
        *mark = level;
        let mut place = (members as usize).min(MEMBERS_MAX);
        while place > 1 {
            place -= 1;
            let ahead = self.order[place - 1];
            if self.order[place] == member.0 && self.at(ahead) < level {
                self.order[place] = ahead;
                self.order[place - 1] = member.0;
            }
        }
    }

    /// The highest mark that every voter set of `voters` has reached; zero if none is. Only the first
    /// `members` can have one.
    ///
    /// The walk picks the mark at the place where every set is first met, by a mask and not by a
    /// branch or an index: those make the verifier tell apart every way through the loop, and follow
    /// each to the program's end.
    #[inline(always)]
    pub(super) fn reached(&self, members: u32, voters: &Voters) -> u64 {
        let (current, joint) = (voters.current, voters.joint);
        if current.needed == 0 || joint.members.0 != 0 && joint.needed == 0 {
            return 0;
        }
        let needed_in_joint = if joint.members.0 == 0 { 0 } else { joint.needed };
        let (mut in_current, mut in_joint, mut short, mut mark) = (0u32, 0u32, 1u64, 0u64);
        for place in 0..MEMBERS_MAX as u32 {
            if place >= members {
                break;
            }
            let index = self.order[place as usize];
            let bit = (index & 31) as u32;
            in_current += current.members.0 >> bit & 1;
            in_joint += joint.members.0 >> bit & 1;
            let still = is_short(in_current, current.needed) | is_short(in_joint, needed_in_joint);
            mark |= self.at(index) & 0u64.wrapping_sub(short & !still);
            short = still;
        }
        mark
    }

    /// As `of`, for an index out of `order`: the mask is for the verifier, which cannot know that.
    #[inline(always)]
    fn at(&self, index: u8) -> u64 {
        self.level[index as usize % MEMBERS_MAX]
    }

    /// Every index with its mark.
    pub(super) fn iter(&self) -> impl Iterator<Item = (MemberIndex, u64)> + '_ {
        self.level.iter().enumerate().map(|(index, &level)| (MemberIndex(index as u8), level))
    }
}
