//! One group's place: what user space holds of it beside the kernel's state.

use std::collections::BTreeMap;

use electrode_ebpf_abi::{NOBODY, Peer, Seating};
use electrode_transport::rules::Gate;
use electrode_transport::{
    AckMode, Ballot, GroupId, MEMBERS_MAX, MemberIndex, MemberSet, Membership, Slot,
};
use std::net::{IpAddr, SocketAddr};

use crate::log::Log;

/// A group's place.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) group: GroupId,
    pub(crate) mode: AckMode,
    pub(crate) gate: Gate,
    pub(crate) membership: Membership,
    /// Accepted entries, in order.
    pub(crate) log: Log,
    /// Every reachable member's hardware address.
    pub(crate) hops: BTreeMap<IpAddr, [u8; 6]>,
    pub(crate) carrier: u8,
    pub(crate) copies: MemberSet,
    pub(crate) leading: Option<Lead>,
}

/// What is led, as user space knows it: the kernel learns of a frame when it leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lead {
    pub(crate) ballot: Ballot,
    /// Where it began: of what was before, it has said nothing.
    pub(crate) base: Slot,
    pub(crate) sent: Slot,
}

impl Lead {
    /// Whether the leader's own vote goes with what it sends, and it has sent anything.
    pub(crate) fn votes(&self, mode: AckMode) -> bool {
        mode == AckMode::Received && self.sent > self.base
    }
}

impl Place {
    pub(crate) fn new(
        group: GroupId,
        mode: AckMode,
        gate: Gate,
        membership: Membership,
        log: Log,
    ) -> Self {
        Self {
            group,
            mode,
            gate,
            membership,
            log,
            hops: BTreeMap::new(),
            carrier: NOBODY,
            copies: MemberSet::EMPTY,
            leading: None,
        }
    }

    /// Everybody else's address.
    pub(crate) fn peers(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let own = usize::from(self.gate.own);
        let members = self.membership.members().iter().enumerate();
        members.filter(move |(index, _)| *index != own).map(|(_, member)| member.address.ip())
    }

    /// Who gets a broadcast's packet and who a copy of it, as everybody is reachable now.
    pub(crate) fn choose_carrier(&mut self) {
        let mut reachable = MemberSet::EMPTY;
        for (index, member) in self.membership.members().iter().enumerate() {
            let index = MemberIndex(index as u8);
            if index != self.gate.own && self.hops.contains_key(&member.address.ip()) {
                reachable = reachable.with(index);
            }
        }
        self.carrier = reachable.iter().next().map_or(NOBODY, |index| index.0);
        self.copies =
            MemberSet(reachable.0 & !1u32.checked_shl(self.carrier.into()).unwrap_or_default());
    }

    /// Whether a broadcast's packet goes to this member, and the others' copies are made of it.
    pub(crate) fn is_carrier(&self, to: SocketAddr) -> bool {
        let carrier = self.membership.member(MemberIndex(self.carrier));
        carrier.is_some_and(|carrier| carrier.address == to)
    }

    /// Whether the kernel makes this member's copy of a broadcast.
    pub(crate) fn covers(&self, to: SocketAddr) -> bool {
        self.copies
            .iter()
            .any(|index| self.membership.member(index).is_some_and(|member| member.address == to))
    }

    /// The seating as the kernel is told of it.
    pub(crate) fn seating(&self, change: u8, leader: u8) -> Seating {
        let mut peers = [Peer::default(); MEMBERS_MAX];
        for (peer, member) in peers.iter_mut().zip(self.membership.members()) {
            peer.address = octets(member.address.ip());
            peer.port = member.address.port().to_be_bytes();
            if let Some(mac) = self.hops.get(&member.address.ip()) {
                peer.mac = *mac;
                peer.reachable = 1;
            }
        }
        Seating {
            gate: self.gate,
            voters: self.membership.voters(),
            change,
            leader,
            carrier: self.carrier,
            reserved: 0,
            copies: self.copies.0,
            peers,
        }
    }
}

/// An address as the programs compare it: in network order, IPv4 in front.
pub(crate) fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            octets
        }
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_votes_with_what_it_sends_and_not_before() {
        let lead = |base, sent| Lead { ballot: Ballot(1), base: Slot(base), sent: Slot(sent) };
        assert!(lead(30, 31).votes(AckMode::Received));
        assert!(!lead(30, 30).votes(AckMode::Received), "it has said nothing of what was before");
        assert!(!lead(30, 31).votes(AckMode::Persisted), "its library says so, later");
    }
}
