//! Who is in a group, where they are, and what a quorum of them is.

use std::net::SocketAddr;
use std::vec::Vec;

use crate::error::ConfigError;
use crate::ident::{Incarnation, MEMBERS_MAX, MemberIndex, MemberSet, NodeId};
use crate::rules::{VoterSet, Voters};

/// How many voters make a quorum. A property of the group, the same on every member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum QuorumRule {
    /// More than half of the voters: Paxos, Raft, Viewstamped Replication.
    #[default]
    Majority,
    /// Every voter: primary-backup, two-phase commit.
    All,
    /// This many voters: Flexible Paxos (Howard et al., 2016). The library sees to it that its
    /// election quorums intersect it.
    Size(u32),
}

/// Whether a member's acknowledgement counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Role {
    /// It counts.
    #[default]
    Voter,
    /// It receives and acknowledges everything, shows in `acked`, and counts for nothing.
    Learner,
}

/// One member of a group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// Where its endpoint is bound, as this node reaches it and as its datagrams' source shows.
    pub address: SocketAddr,
    /// Whether it votes.
    pub role: Role,
}

impl Member {
    /// A voting member.
    #[must_use]
    pub const fn voter(id: NodeId, address: SocketAddr) -> Self {
        Self { id, address, role: Role::Voter }
    }

    /// A member that does not vote.
    #[must_use]
    pub const fn learner(id: NodeId, address: SocketAddr) -> Self {
        Self { id, address, role: Role::Learner }
    }
}

impl Member {
    /// With the address as a datagram's source shows it: without a flow label, and with a scope only
    /// where an address means nothing without one (RFC 4007, section 6).
    fn plain(mut self) -> Self {
        if let SocketAddr::V6(address) = &mut self.address {
            address.set_flowinfo(0);
            if !address.ip().is_unicast_link_local() {
                address.set_scope_id(0);
            }
        }
        self
    }
}

/// One version of a group's membership. Every member must be given the same one, in the same order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    incarnation: Incarnation,
    members: Vec<Member>,
    voters: Voters,
}

impl Membership {
    /// Checks and fixes a membership. `incarnation` rises with every change of it.
    ///
    /// # Errors
    /// [`ConfigError`] names the member or number that is wrong: none or more than 32 members, a
    /// doubled id or address, no voters, a quorum that is zero or larger than the voters.
    pub fn new(
        incarnation: Incarnation,
        members: impl IntoIterator<Item = Member>,
        rule: QuorumRule,
    ) -> Result<Self, ConfigError> {
        let members: Vec<Member> = members.into_iter().map(Member::plain).collect();
        if members.is_empty() || members.len() > MEMBERS_MAX {
            return Err(ConfigError::MemberCount { count: members.len() });
        }
        for (index, member) in members.iter().enumerate() {
            let earlier = &members[..index];
            if earlier.iter().any(|other| other.id == member.id) {
                return Err(ConfigError::DuplicateMember { member: member.id });
            }
            if let Some(other) = earlier.iter().find(|other| other.address == member.address) {
                return Err(ConfigError::DuplicateAddress {
                    address: member.address,
                    first: other.id,
                    second: member.id,
                });
            }
        }
        let voting = members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.role == Role::Voter)
            .fold(MemberSet::EMPTY, |set, (index, _)| set.with(MemberIndex(index as u8)));
        let voters = Voters { current: voter_set(voting, rule)?, joint: VoterSet::default() };
        Ok(Self { incarnation, members, voters })
    }

    /// The same members in a joint phase (Raft section 6): a quorum must also be one of `voters`
    /// under `rule`. Whoever is in either set must be among the members.
    ///
    /// # Errors
    /// [`ConfigError`] names an unknown or doubled voter, or an impossible quorum.
    pub fn with_joint(mut self, voters: &[NodeId], rule: QuorumRule) -> Result<Self, ConfigError> {
        let mut set = MemberSet::EMPTY;
        for &member in voters {
            let index = self.index_of(member).ok_or(ConfigError::UnknownMember { member })?;
            if set.contains(index) {
                return Err(ConfigError::DuplicateMember { member });
            }
            set = set.with(index);
        }
        self.voters.joint = voter_set(set, rule)?;
        Ok(self)
    }

    /// Which version of the membership this is.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The members, in index order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many members there are, 1 to 32.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.members.len() as u8
    }

    /// The quorum rule as the tally uses it.
    #[must_use]
    pub const fn voters(&self) -> Voters {
        self.voters
    }

    /// The index of a member.
    #[must_use]
    pub fn index_of(&self, id: NodeId) -> Option<MemberIndex> {
        let index = self.members.iter().position(|member| member.id == id)?;
        Some(MemberIndex(index as u8))
    }

    /// The member at an index.
    #[must_use]
    pub fn member(&self, index: MemberIndex) -> Option<&Member> {
        self.members.get(index.0 as usize)
    }

    /// The names of a set of members, lowest index first.
    pub fn names(&self, set: MemberSet) -> impl Iterator<Item = NodeId> + '_ {
        set.iter().filter_map(|index| self.member(index)).map(|member| member.id)
    }
}

fn voter_set(members: MemberSet, rule: QuorumRule) -> Result<VoterSet, ConfigError> {
    let voters = members.count();
    let needed = match rule {
        QuorumRule::Majority => voters / 2 + 1,
        QuorumRule::All => voters,
        QuorumRule::Size(needed) => needed,
    };
    if voters == 0 || needed == 0 || needed > voters {
        return Err(ConfigError::QuorumSize { needed, voters });
    }
    Ok(VoterSet { members, needed })
}
