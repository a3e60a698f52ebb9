//! One group's place: what user space holds of it beside the kernel's state.

use std::collections::BTreeMap;

use electrode_ebpf_abi::{NOBODY, Peer, RECORD_CHARGE, Record, Seating};
use electrode_transport::engine::LogRing;
use electrode_transport::rules::Gate;
use electrode_transport::{
    AckMode, Ballot, GroupId, MEMBERS_MAX, MemberIndex, MemberSet, Membership, Slot,
};
use std::net::{IpAddr, SocketAddr};

/// A group's place.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) group: GroupId,
    pub(crate) mode: AckMode,
    pub(crate) gate: Gate,
    pub(crate) membership: Membership,
    /// Accepted entries, in order.
    pub(crate) log: LogRing,
    /// Records that another CPU's ring gave out before an earlier one was seen.
    early: BTreeMap<u64, Early>,
    /// The number of the newest record in `log`.
    sequence: u64,
    /// Charged bytes of the records that came into `log` so far.
    charged: u64,
    /// Every reachable member's hardware address.
    pub(crate) hops: BTreeMap<IpAddr, [u8; 6]>,
    pub(crate) carrier: u8,
    pub(crate) copies: MemberSet,
    pub(crate) leading: Option<Lead>,
    /// Wrong on purpose, for a test that must notice: records are taken as the rings give them.
    #[cfg(test)]
    pub(crate) is_unordered: bool,
}

/// What is led, as user space knows it: the kernel learns of a frame when it leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lead {
    pub(crate) ballot: Ballot,
    pub(crate) sent: Slot,
}

#[derive(Debug)]
struct Early {
    head: Record,
    body: Vec<u8>,
}

impl Place {
    pub(crate) fn new(
        group: GroupId,
        mode: AckMode,
        gate: Gate,
        membership: Membership,
        log_bytes: usize,
    ) -> Self {
        Self {
            group,
            mode,
            gate,
            membership,
            log: LogRing::new(log_bytes),
            early: BTreeMap::new(),
            sequence: 0,
            charged: 0,
            hops: BTreeMap::new(),
            carrier: NOBODY,
            copies: MemberSet::EMPTY,
            leading: None,
            #[cfg(test)]
            is_unordered: false,
        }
    }

    /// Takes in a record of this place, in whatever order the rings gave them.
    pub(crate) fn take(&mut self, head: &Record, body: &[u8]) {
        #[cfg(test)]
        if self.is_unordered {
            return self.append(head, body);
        }
        if head.sequence != self.sequence + 1 {
            if head.sequence > self.sequence {
                self.early.insert(head.sequence, Early { head: *head, body: body.to_vec() });
            }
            return;
        }
        self.append(head, body);
        while let Some(early) = self.early.remove(&(self.sequence + 1)) {
            self.append(&early.head, &early.body);
        }
    }

    /// The kernel accepted the record only because there was room for it here.
    fn append(&mut self, head: &Record, body: &[u8]) {
        let stored = self.log.reserve(Ballot(head.ballot), Slot(head.first), Slot(head.last), body);
        debug_assert!(stored, "the kernel keeps the same account of the log's room");
        self.log.commit();
        self.sequence = head.sequence;
        self.charged += body.len() as u64 + RECORD_CHARGE;
    }

    /// Charged bytes that were handed on: what the kernel may fill again.
    pub(crate) fn released(&self) -> u64 {
        self.charged - self.log.charged() as u64
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
