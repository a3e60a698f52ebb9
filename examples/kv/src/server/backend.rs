//! Opens the transport that the configuration asks for.

use std::sync::Arc;

use electrode::{
    Choice, EndpointConfig, GroupConfig, GroupId, Incarnation, Member, Membership, Options,
    QuorumRule, QuorumTransport, Selected,
};

use crate::config::{Backend, ServeConfig};
use crate::error::Result;

/// The store is one replicated log.
const GROUP: GroupId = GroupId(1);

/// Opens this replica's handle on the group, and tells which backend it is and why that one.
pub(super) fn open(config: &ServeConfig) -> Result<(Arc<dyn QuorumTransport>, Selected)> {
    let own = config.own()?;
    let members = config.members.iter().map(|member| Member::voter(member.id, member.peer));
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority)?;
    let mut endpoint = EndpointConfig::new(config.cluster, config.node, own.peer);
    endpoint.datagram_len_max = config.datagram_len_max;
    let mut options = Options::new(endpoint);
    options.backend = match config.backend {
        Backend::Auto => Choice::Auto,
        Backend::Socket => Choice::Socket,
        Backend::Ebpf => Choice::Ebpf,
    };
    let mut group = GroupConfig::new(GROUP, membership);
    group.mode = config.mode.into();
    let endpoint = electrode::open(options)?;
    Ok((endpoint.join(group)?, endpoint.backend().clone()))
}
