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

impl Marks {
    /// A member's mark; zero if it has none.
    #[inline(always)]
    pub(super) fn of(&self, member: MemberIndex) -> u64 {
        self.level.get(member.0 as usize).copied().unwrap_or(0)
    }

    /// Raises a member's mark. A mark never falls.
    #[inline(always)]
    pub(super) fn raise(&mut self, member: MemberIndex, level: u64) {
        let Some(mark) = self.level.get_mut(member.0 as usize) else { return };
        if level <= *mark {
            return;
        }
        *mark = level;
        for place in (1..MEMBERS_MAX).rev() {
            let ahead = self.order[place - 1];
            if self.order[place] == member.0 && self.at(ahead) < level {
                self.order[place] = ahead;
                self.order[place - 1] = member.0;
            }
        }
    }

    /// The highest mark that every voter set of `voters` has reached; zero if none is.
    #[inline(always)]
    pub(super) fn reached(&self, voters: &Voters) -> u64 {
        let (current, joint) = (voters.current, voters.joint);
        let is_joint = joint.members.0 != 0;
        if current.needed == 0 || is_joint && joint.needed == 0 {
            return 0;
        }
        let (mut in_current, mut in_joint) = (0, 0);
        for place in 0..MEMBERS_MAX {
            let index = self.order[place];
            let bit = (index & 31) as u32;
            in_current += current.members.0 >> bit & 1;
            in_joint += joint.members.0 >> bit & 1;
            if in_current >= current.needed && (!is_joint || in_joint >= joint.needed) {
                return self.at(index);
            }
        }
        0
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
