//! Addresses that cannot be bound, that do not fit the membership, or that cannot be reached.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod cluster;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use cluster::{BALLOT, Cluster, GROUP, PATIENCE, config};
use electrode_backend_socket::{SocketEndpoint, SocketOptions};
use electrode_transport::{
    AckMode, ConfigError, Counter, EndpointConfig, Frame, GroupConfig, Incarnation, Member,
    Membership, NodeId, QuorumRule, Slot, TransportCore, TransportError,
};

fn bind(address: &str) -> Result<SocketEndpoint, TransportError> {
    let config =
        EndpointConfig { bind: address.parse().unwrap(), ..config(1, Ipv4Addr::LOCALHOST.into()) };
    SocketEndpoint::bind(config, SocketOptions::default())
}

#[test]
fn an_address_of_another_machine_is_named() {
    // Documentation addresses (RFC 5737, RFC 3849) are on no interface.
    for address in ["203.0.113.7:4711", "[2001:db8::7]:4711"] {
        let error = bind(address).unwrap_err();
        assert!(matches!(error, TransportError::AddressNotLocal { .. }), "{error:?}");
        assert!(error.to_string().contains(address), "{error}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let first = bind("127.0.0.1:0").unwrap();
    let address = first.local_addr();
    assert_ne!(address.port(), 0, "the system chose a port and tells it");
    let error = bind(&address.to_string()).unwrap_err();
    assert!(matches!(error, TransportError::AddressInUse { .. }), "{error:?}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

fn two_members(own: SocketAddr, other: SocketAddr) -> GroupConfig {
    let members = [Member::voter(NodeId(1), own), Member::voter(NodeId(2), other)];
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority).unwrap();
    GroupConfig::new(GROUP, membership)
}

#[test]
fn a_membership_must_name_the_address_that_is_really_bound() {
    let endpoint = bind("127.0.0.1:0").unwrap();
    let bound = endpoint.local_addr();
    let (wrong, other) = ("127.0.0.1:9".parse().unwrap(), "127.0.0.1:10".parse().unwrap());
    let error = endpoint.join(two_members(wrong, other)).unwrap_err();
    let expected = ConfigError::OwnAddress { member: wrong, bound };
    assert!(matches!(&error, TransportError::Config(config) if *config == expected), "{error:?}");

    let error = endpoint.join(two_members(bound, "[::1]:10".parse().unwrap())).unwrap_err();
    assert!(
        matches!(error, TransportError::Config(ConfigError::AddressFamily { .. })),
        "{error:?}"
    );

    endpoint.join(two_members(bound, other)).unwrap();
    let error = endpoint.join(two_members(bound, other)).unwrap_err();
    assert!(matches!(error, TransportError::Config(ConfigError::GroupOpen { .. })), "{error:?}");
}

/// The system refuses to route from loopback to elsewhere. That costs the datagram to the member
/// that cannot be reached, and nobody else's.
#[test]
fn a_member_that_cannot_be_reached_costs_only_its_own_datagrams() {
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let endpoint = bind("127.0.0.1:0").unwrap();
    let members = [
        Member::voter(NodeId(1), endpoint.local_addr()),
        Member::voter(NodeId(2), "203.0.113.7:4711".parse().unwrap()),
        Member::voter(NodeId(3), peer.local_addr().unwrap()),
    ];
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority).unwrap();
    let node = endpoint.join(GroupConfig::new(GROUP, membership)).unwrap();
    let token = node.fence(BALLOT).unwrap().token;
    node.lead(&token, Slot(1)).unwrap();
    let bodies: Vec<_> = (1..=3).map(|slot| Frame::single(Slot(slot), b"body")).collect();
    assert_eq!(node.try_broadcast(BALLOT, &bodies).unwrap(), 3);
    assert_eq!(node.stats().count(Counter::TxErrors), 3, "{:?}", node.stats());
    for _ in 0..3 {
        assert_eq!(peer.recv(&mut [0; 2_048]).unwrap(), 72 + 4);
    }
}

#[test]
fn closing_or_dropping_frees_the_port_at_once() {
    let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    for round in 0..50 {
        let endpoint = bind(&address.to_string()).unwrap();
        address = endpoint.local_addr();
        let other = "127.0.0.1:10".parse().unwrap();
        let node = endpoint.join(two_members(address, other)).unwrap();
        let waker = std::task::Waker::noop();
        // Starts a driver's thread, which sleeps on the socket.
        node.watch(electrode_transport::Interest::Message, waker).unwrap();
        if round % 2 == 0 {
            endpoint.close();
            assert!(matches!(node.drive(), Err(TransportError::Closed)));
            drop(
                bind(&address.to_string()).expect("the port is free while old handles are around"),
            );
        }
    }
}

#[test]
fn a_closed_endpoint_answers_nothing() {
    let cluster = Cluster::new(2);
    let nodes = cluster.join(GROUP, AckMode::Received);
    cluster::lead_and_follow(&nodes);
    cluster.endpoints[1].close();
    let answers = |stats: electrode_transport::Stats| stats.received();
    nodes[0].drive().unwrap();
    let before = answers(nodes[0].stats());
    nodes[0].try_broadcast(BALLOT, &[Frame::single(Slot(1), b"body")]).unwrap();
    let start = Instant::now();
    while nodes[0].stats().count(Counter::TxRetransmits) < 2 {
        assert!(start.elapsed() < PATIENCE);
        nodes[0].wait(Duration::from_millis(100)).unwrap();
    }
    assert_eq!(answers(nodes[0].stats()), before, "nobody is there to answer");
}
