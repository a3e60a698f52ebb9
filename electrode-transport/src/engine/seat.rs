//! Where this node sits in a group: its index, the others, and how it heads its frames.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::EndpointConfig;
use crate::error::ConfigError;
use crate::ident::{Ballot, GroupId, MemberIndex, Slot};
use crate::membership::Membership;
use crate::rules::Gate;
use crate::wire::{DESTINATION_ALL, FrameKind, Header};

#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) group: GroupId,
    pub(crate) gate: Gate,
    pub(crate) membership: Arc<Membership>,
}

impl Seat {
    pub(crate) fn new(
        group: GroupId,
        membership: Membership,
        config: &EndpointConfig,
    ) -> Result<Self, ConfigError> {
        let member = config.node;
        let own = membership.index_of(member).ok_or(ConfigError::UnknownMember { member })?;
        let gate = Gate {
            cluster: config.cluster,
            incarnation: membership.incarnation(),
            own,
            members: membership.count(),
            keyed: config.key.is_some().into(),
            reserved: 0,
        };
        Ok(Self { group, gate, membership: Arc::new(membership) })
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = MemberIndex> + use<> {
        let own = self.gate.own;
        (0..self.gate.members).map(MemberIndex).filter(move |&index| index != own)
    }

    pub(crate) fn address(&self, index: MemberIndex) -> Option<SocketAddr> {
        self.membership.member(index).map(|member| member.address)
    }

    /// Who has this address, this node excepted.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<MemberIndex> {
        self.others().find(|&index| self.address(index) == Some(address))
    }

    /// A header from this node to everybody, with `[first, last, commit]`.
    pub(crate) fn header(&self, kind: FrameKind, ballot: Ballot, slots: [Slot; 3]) -> Header {
        let [first, last, commit] = slots;
        Header {
            kind,
            sender: self.gate.own,
            flags: 0,
            cluster: self.gate.cluster,
            incarnation: self.gate.incarnation,
            group: self.group,
            ballot,
            first,
            last,
            commit,
            body_len: 0,
            destination: DESTINATION_ALL,
            tag: 0,
        }
    }
}

impl Header {
    /// The same frame, for one member.
    pub(crate) fn to(self, member: MemberIndex) -> Self {
        Self { destination: member.0, ..self }
    }
}
