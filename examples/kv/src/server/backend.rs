//! Opens the transport that the configuration asks for.

use electrode_backend_socket::{SocketEndpoint, SocketOptions, SocketTransport};
use electrode_transport::{
    EndpointConfig, GroupConfig, GroupId, Incarnation, Member, Membership, QuorumRule,
};

use crate::config::{Backend, ServeConfig};
use crate::error::Result;

/// The store is one replicated log.
const GROUP: GroupId = GroupId(1);

/// Which backend runs, and why that one.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) name: &'static str,
    pub(super) why: String,
}

/// Opens this replica's handle on the group.
pub(super) fn open(config: &ServeConfig) -> Result<(SocketTransport, Chosen)> {
    let own = config.own()?;
    let members = config.members.iter().map(|member| Member::voter(member.id, member.peer));
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority)?;
    let mut endpoint = EndpointConfig::new(config.cluster, config.node, own.peer);
    endpoint.datagram_len_max = config.datagram_len_max;
    let mut group = GroupConfig::new(GROUP, membership);
    group.mode = config.mode.into();
    let endpoint = SocketEndpoint::bind(endpoint, SocketOptions::default())?;
    let why = match config.backend {
        Backend::Socket => "it was asked for".into(),
        Backend::Auto => "auto: UDP sockets work everywhere, and this build has no other".into(),
    };
    Ok((endpoint.join(group)?, Chosen { name: "socket", why }))
}
