//! Ballots that no two members share: the round above, the member's index below.
//!
//! Whoever sees a ballot on a frame therefore knows whose it is, and a member can follow a leader of
//! which it has heard nothing else.

use electrode_transport::{Ballot, MemberIndex};

const INDEX_BITS: u32 = 8;
/// Rounds above this are taken for damage and ignored. At a million elections a second it lasts for
/// 2,000 years.
const ROUND_MAX: u64 = (1 << 56) - 2;

/// The ballot of a member in a round.
pub(crate) const fn ballot(round: u64, member: MemberIndex) -> Ballot {
    Ballot(round << INDEX_BITS | member.0 as u64)
}

/// A ballot's round. Rounds rise with every election; round zero is never led.
#[must_use]
pub const fn round(ballot: Ballot) -> u64 {
    ballot.0 >> INDEX_BITS
}

/// The index of the one member that may lead at this ballot; it may name no member.
#[must_use]
pub const fn leader_index(ballot: Ballot) -> MemberIndex {
    MemberIndex((ballot.0 & 0xff) as u8)
}

/// Whether a higher round exists.
pub(crate) const fn is_sane(ballot: Ballot) -> bool {
    round(ballot) > 0 && round(ballot) <= ROUND_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ballot_names_its_round_and_leader() {
        let made = ballot(7, MemberIndex(3));
        assert_eq!((round(made), leader_index(made)), (7, MemberIndex(3)));
        assert!(ballot(8, MemberIndex(0)) > ballot(7, MemberIndex(31)));
        assert!(is_sane(made) && !is_sane(Ballot(3)) && !is_sane(Ballot(u64::MAX)));
    }
}
