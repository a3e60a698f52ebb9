//! What an endpoint and a group are told when they are opened.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::ConfigError;
use crate::ident::{ClusterId, GroupId, NodeId};
use crate::membership::Membership;
use crate::rules::AckMode;
use crate::wire::{BODY_LEN_MAX, HEADER_LEN, Key};

/// One node's endpoint: its place in the world, shared by all of its groups.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// The deployment. Frames of others are dropped.
    pub cluster: ClusterId,
    /// This node's name in every group's membership.
    pub node: NodeId,
    /// The local address to bind. In every group, it is this node's address in the membership
    /// unless [`GroupConfig::allow_foreign_own_address`] says otherwise.
    pub bind: SocketAddr,
    /// The cluster's key; with one, every frame carries a tag and frames without are dropped.
    pub key: Option<Key>,
    /// The largest datagram to send, in bytes of UDP payload. The default, 1,452, fits a 1,500-byte
    /// MTU over IPv6 as over IPv4; jumbo frames allow 8,952.
    pub datagram_len_max: usize,
    /// Bounds of the retransmission time-out, which follows the measured round trip (RFC 6298).
    pub retransmit_min: Duration,
    /// The time-out's upper bound, also under back-off.
    pub retransmit_max: Duration,
}

impl EndpointConfig {
    /// The defaults: no key, 1,452-byte datagrams, time-outs between 10 and 500 ms.
    #[must_use]
    pub const fn new(cluster: ClusterId, node: NodeId, bind: SocketAddr) -> Self {
        Self {
            cluster,
            node,
            bind,
            key: None,
            datagram_len_max: 1_452,
            retransmit_min: Duration::from_millis(10),
            retransmit_max: Duration::from_millis(500),
        }
    }

    /// The longest body of a frame or message, in bytes.
    #[must_use]
    pub const fn body_len_max(&self) -> usize {
        self.datagram_len_max.saturating_sub(HEADER_LEN)
    }

    /// Checks what can be checked without the network.
    ///
    /// # Errors
    /// [`ConfigError`] names the field.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let len = self.datagram_len_max;
        if len <= HEADER_LEN || len > HEADER_LEN + BODY_LEN_MAX {
            return Err(ConfigError::OutOfRange {
                field: "datagram_len_max",
                value: len as u64,
                min: HEADER_LEN as u64 + 1,
                max: (HEADER_LEN + BODY_LEN_MAX) as u64,
            });
        }
        let (min, max) = (self.retransmit_min, self.retransmit_max);
        if min.is_zero() || min > max || max > Duration::from_secs(60) {
            return Err(ConfigError::OutOfRange {
                field: "retransmit_min, in microseconds",
                value: min.as_micros() as u64,
                min: 1,
                max: max.min(Duration::from_secs(60)).as_micros() as u64,
            });
        }
        Ok(())
    }
}

/// One group on an endpoint.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// Which log.
    pub group: GroupId,
    /// Who is in it.
    pub membership: Membership,
    /// What an acknowledgement promises; the same on every member.
    pub mode: AckMode,
    /// Frames that may be on their way without a quorum before `broadcast` pushes back.
    pub window_frames: usize,
    /// Bytes of the same.
    pub window_bytes: usize,
    /// Bytes of accepted entries that may wait for `poll_log`; a full log acknowledges nothing.
    pub log_bytes: usize,
    /// Messages that may wait for `recv`; more are dropped and counted.
    pub inbox_messages: usize,
    /// How long after the last poll this member goes on acknowledging (invariant 11).
    pub lease: Duration,
    /// Permits this node's own address in the membership to differ from the endpoint's bound one,
    /// as behind address translation. Off by default: it is nearly always a mistake.
    pub allow_foreign_own_address: bool,
}

impl GroupConfig {
    /// The defaults: `Persisted`, a window of 1,024 frames or 4 MiB, a log of 8 MiB, 4,096 waiting
    /// messages, a lease of one second.
    #[must_use]
    pub const fn new(group: GroupId, membership: Membership) -> Self {
        Self {
            group,
            membership,
            mode: AckMode::Persisted,
            window_frames: 1_024,
            window_bytes: 4 << 20,
            log_bytes: 8 << 20,
            inbox_messages: 4_096,
            lease: Duration::from_secs(1),
            allow_foreign_own_address: false,
        }
    }

    /// Checks the group against its endpoint.
    ///
    /// # Errors
    /// [`ConfigError`] names the field or member.
    pub fn validate(&self, endpoint: &EndpointConfig) -> Result<(), ConfigError> {
        let own = self
            .membership
            .index_of(endpoint.node)
            .and_then(|index| self.membership.member(index))
            .ok_or(ConfigError::UnknownMember { member: endpoint.node })?;
        if !self.allow_foreign_own_address && own.address != endpoint.bind {
            return Err(ConfigError::OwnAddress { member: own.address, bound: endpoint.bind });
        }
        for member in self.membership.members() {
            let mapped = match member.address {
                SocketAddr::V6(address) => address.ip().to_ipv4_mapped().is_some(),
                SocketAddr::V4(_) => false,
            };
            if mapped || member.address.is_ipv4() != endpoint.bind.is_ipv4() {
                return Err(ConfigError::AddressFamily {
                    member: member.address,
                    bound: endpoint.bind,
                });
            }
        }
        let body = endpoint.body_len_max();
        at_least("window_frames", self.window_frames, 1)?;
        at_least("window_bytes", self.window_bytes, body)?;
        at_least("log_bytes", self.log_bytes, body)?;
        at_least("inbox_messages", self.inbox_messages, 1)?;
        let lease_ms = usize::try_from(self.lease.as_millis()).unwrap_or(usize::MAX);
        at_least("lease, in milliseconds", lease_ms, 1)
    }
}

fn at_least(field: &'static str, value: usize, min: usize) -> Result<(), ConfigError> {
    if value < min {
        let (value, min) = (value as u64, min as u64);
        return Err(ConfigError::OutOfRange { field, value, min, max: u64::MAX });
    }
    Ok(())
}
