//! Who is in the group, and how many it takes to elect and to recover.

use electrode_transport::{Ballot, MemberIndex, Membership, NodeId, Role};

use crate::ballots::leader_index;

/// The fixed membership as elections see it. Accept quorums are the transport's alone.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    pub(crate) own: MemberIndex,
    pub(crate) node: NodeId,
    members: Vec<(NodeId, Role)>,
    /// Complete promises that make a candidate a leader, its own among them.
    pub(crate) election_needed: usize,
    /// Answers of others that a recovering replica needs.
    pub(crate) recovery_needed: usize,
}

impl Seats {
    /// `None` if `node` is not a member.
    ///
    /// An election quorum meets every accept quorum, whatever the group's rule (Flexible Paxos,
    /// Howard et al., 2016), and is at least a majority. A recovering replica's answers meet both
    /// kinds, the replica itself left out.
    pub(crate) fn new(membership: &Membership, node: NodeId) -> Option<Self> {
        let own = membership.index_of(node)?;
        let members: Vec<_> =
            membership.members().iter().map(|member| (member.id, member.role)).collect();
        let voters = members.iter().filter(|(_, role)| *role == Role::Voter).count();
        let accept = membership.voters().current.needed as usize;
        let election_needed = (voters / 2 + 1).max(voters + 1 - accept);
        let recovery_needed = voters + 1 - accept.min(election_needed);
        Some(Self { own, node, members, election_needed, recovery_needed })
    }

    pub(crate) fn count(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn is_voter(&self, node: NodeId) -> bool {
        self.members.contains(&(node, Role::Voter))
    }

    pub(crate) fn index_of(&self, node: NodeId) -> Option<usize> {
        self.members.iter().position(|(id, _)| *id == node)
    }

    /// Everybody else.
    pub(crate) fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let node = self.node;
        self.members.clone().into_iter().map(|(id, _)| id).filter(move |id| *id != node)
    }

    /// The member after `node`, this one left out: whom to ask next.
    pub(crate) fn after(&self, node: NodeId) -> Option<NodeId> {
        let others: Vec<_> = self.others().collect();
        let place = others.iter().position(|id| *id == node).map_or(0, |place| place + 1);
        others.get(place % others.len().max(1)).copied()
    }

    /// Who alone may lead at a ballot.
    pub(crate) fn leader_of(&self, ballot: Ballot) -> Option<NodeId> {
        self.members.get(leader_index(ballot).0 as usize).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use electrode_transport::QuorumRule;
    use electrode_transport::memory::MemoryNetwork;

    use super::*;

    #[test]
    fn election_and_recovery_quorums_meet_accept_quorums() {
        let network = MemoryNetwork::new(1);
        for count in 1..=9_u8 {
            let sizes = (1..=u32::from(count)).map(QuorumRule::Size);
            for rule in sizes.chain([QuorumRule::Majority, QuorumRule::All]) {
                let membership = network.membership(count, rule);
                let accept = membership.voters().current.needed as usize;
                let seats = Seats::new(&membership, NodeId(1)).expect("node 1 is a member");
                let count = usize::from(count);
                assert!(seats.election_needed + accept > count);
                assert!(seats.election_needed * 2 > count);
                assert!(seats.election_needed <= count);
                let others = count - 1;
                assert!(seats.recovery_needed + (accept - 1) > others);
                assert!(seats.recovery_needed + (seats.election_needed - 1) > others);
            }
        }
    }

    #[test]
    fn whom_to_ask_goes_round() {
        let membership = MemoryNetwork::new(1).membership(3, QuorumRule::Majority);
        let seats = Seats::new(&membership, NodeId(2)).expect("node 2 is a member");
        assert_eq!(seats.after(NodeId(1)), Some(NodeId(3)));
        assert_eq!(seats.after(NodeId(3)), Some(NodeId(1)));
        assert!(Seats::new(&membership, NodeId(9)).is_none());
    }
}
