//! What there is to know of the interface itself.

use std::fmt;

use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use serde::Serialize;

use crate::net::{Ethtool, Feature, Interface, InterfaceKind, Requests};

/// The interface, and what its driver does to frames.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct DeviceFacts {
    /// Its name.
    pub name: String,
    /// Its index in its network namespace.
    pub index: u32,
    /// What it is.
    #[serde(serialize_with = "by_display")]
    pub kind: InterfaceKind,
    /// Its driver.
    pub driver: Option<String>,
    /// Its Ethernet address, as `ip link` prints it; none where it is no Ethernet.
    pub mac: Option<String>,
    /// The longest IP packet it carries, in bytes.
    pub mtu: u32,
    /// Whether it is on.
    pub up: bool,
    /// Whether it is on and has a carrier.
    pub running: bool,
    /// Of a veth: the index of the other end.
    pub veth_peer_index: Option<u32>,
    /// Of a veth: whether the other end is in the same network namespace.
    pub veth_peer_here: Option<bool>,
    /// How many queues receive.
    pub receive_queues: Option<u32>,
    /// The offloads that matter; `None` if the driver was not understood.
    pub offloads: Option<Offloads>,
}

/// Offloads (ethtool(8)) that change what the programs see.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct Offloads {
    /// `rx-lro`: the card joins frames.
    pub lro: bool,
    /// `rx-gro-hw`: the card joins frames so that they can be taken apart again.
    pub gro_hw: bool,
    /// `rx-gro-list`: the stack chains datagrams of one flow.
    pub gro_list: bool,
    /// `rx-vlan-hw-parse`: the card takes VLAN tags off.
    pub rx_vlan: bool,
    /// `rx-checksum`: the card checks checksums.
    pub rx_checksum: bool,
    /// `tx-checksum-*`: the card, or the receiver of a virtual link, completes checksums.
    pub tx_checksum: bool,
}

impl DeviceFacts {
    pub(super) fn read(requests: &Requests, interface: &Interface, link: &LinkMessage) -> Self {
        let ethtool = Ethtool { socket: requests, interface: &interface.name };
        let by_link = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::NumRxQueues(count) => Some(*count),
            _ => None,
        });
        Self {
            name: interface.name.clone(),
            index: interface.index,
            kind: interface.kind.clone(),
            driver: interface.driver.clone(),
            mac: interface.mac.map(|mac| mac.map(|byte| format!("{byte:02x}")).join(":")),
            mtu: interface.mtu,
            up: interface.up,
            running: interface.running,
            veth_peer_index: interface.veth_peer.map(|(index, _)| index),
            veth_peer_here: interface.veth_peer.map(|(_, here)| here),
            receive_queues: ethtool.receive_queues().or(by_link),
            offloads: ethtool.features().ok().map(|features| Offloads::of(&features)),
        }
    }
}

impl Offloads {
    fn of(features: &[Feature]) -> Self {
        let active = |name: &str| features.iter().any(|it| it.active && it.name == name);
        Self {
            lro: active("rx-lro"),
            gro_hw: active("rx-gro-hw"),
            gro_list: active("rx-gro-list"),
            rx_vlan: active("rx-vlan-hw-parse"),
            rx_checksum: active("rx-checksum"),
            tx_checksum: features
                .iter()
                .any(|it| it.active && it.name.starts_with("tx-checksum-ip")),
        }
    }
}

fn by_display<T: fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl fmt::Display for DeviceFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.up, self.running) {
            (false, _) => "down",
            (true, false) => "up without a carrier",
            (true, true) => "up",
        };
        write!(f, "interface {} (index {}): {}", self.name, self.index, self.kind)?;
        if let Some(driver) = &self.driver {
            write!(f, ", driver {driver}")?;
        }
        let mac = self.mac.as_deref().unwrap_or("not Ethernet");
        writeln!(f, ", {mac}, MTU {}, {state}", self.mtu)?;
        match self.receive_queues {
            Some(count) => write!(f, "  receive queues {count}")?,
            None => write!(f, "  receive queues unknown")?,
        }
        let Some(offloads) = self.offloads else { return writeln!(f, ", offloads unknown") };
        let on = |on| if on { "on" } else { "off" };
        writeln!(
            f,
            ", LRO {}, GRO-HW {}, GRO-list {}, rx VLAN {}, rx checksum {}, tx checksum {}",
            on(offloads.lro),
            on(offloads.gro_hw),
            on(offloads.gro_list),
            on(offloads.rx_vlan),
            on(offloads.rx_checksum),
            on(offloads.tx_checksum)
        )
    }
}
