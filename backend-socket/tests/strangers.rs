//! What a member makes of datagrams that are not its leader's: counted by reason, never answered.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

mod cluster;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use cluster::{BALLOT, CLUSTER, Cluster, GROUP, config, drive_until, lead_and_follow, poll};
use electrode_backend_socket::{SocketEndpoint, SocketOptions, SocketTransport};
use electrode_transport::wire::{
    DESTINATION_ALL, FrameKind, HEADER_LEN, Header, Key, flags, tag_frame,
};
use electrode_transport::{
    AckMode, Ballot, ClusterId, Counter, EndpointConfig, Frame, GroupConfig, GroupId, Incarnation,
    Member, MemberIndex, Membership, NodeId, QuorumRule, Slot, TransportCore, TransportError,
};

/// A follower over the backend, and its leader as a bare socket that sends whatever a test likes.
struct Follower {
    node: SocketTransport,
    leader: UdpSocket,
}

fn bare_socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

impl Follower {
    /// Follows at ballot 1 from slot 1 under incarnation 2.
    fn new(key: Option<Key>) -> Self {
        let leader = bare_socket();
        let mut own = config(1, Ipv4Addr::LOCALHOST.into());
        own.key = key;
        let endpoint = SocketEndpoint::bind(own, SocketOptions::default()).unwrap();
        let members = [
            Member::voter(NodeId(1), endpoint.local_addr()),
            Member::voter(NodeId(2), leader.local_addr().unwrap()),
        ];
        let membership = Membership::new(Incarnation(2), members, QuorumRule::Majority).unwrap();
        let mut group = GroupConfig::new(GROUP, membership);
        group.mode = AckMode::Received;
        let node = endpoint.join(group).unwrap();
        let token = node.fence(BALLOT).unwrap().token;
        node.follow(&token, NodeId(2), Slot(1)).unwrap();
        let follower = Self { node, leader };
        assert_eq!(follower.replies(&follower.leader), 1, "it tells where it stands");
        follower
    }

    fn address(&self) -> SocketAddr {
        let membership = self.node.membership().unwrap();
        membership.members()[0].address
    }

    /// Drives until everything sent has been counted, then what came back. Loopback delivers within
    /// the system call, so that an empty socket has nothing under way.
    fn replies(&self, socket: &UdpSocket) -> usize {
        let mut buffer = [0; 2_048];
        self.node.drive().unwrap();
        let mut count = 0;
        loop {
            match socket.recv(&mut buffer) {
                Ok(_) => count += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return count;
                }
            }
        }
    }
}

/// The leader's frame of slot 1.
fn accept() -> Header {
    Header {
        kind: FrameKind::Accept,
        sender: MemberIndex(1),
        flags: 0,
        cluster: CLUSTER,
        incarnation: Incarnation(2),
        group: GROUP,
        ballot: BALLOT,
        first: Slot(1),
        last: Slot(1),
        commit: Slot(0),
        body_len: 4,
        destination: DESTINATION_ALL,
        tag: 0,
    }
}

fn datagram(header: Header) -> Vec<u8> {
    let mut head = [0; HEADER_LEN];
    header.encode(&mut head);
    [&head[..], b"body"].concat()
}

fn altered(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = datagram(accept());
    bytes[at] = value;
    bytes
}

#[test]
fn every_wrong_datagram_is_counted_by_its_reason_and_never_answered() {
    use Counter as C;
    let lengthened = [datagram(accept()), vec![0]].concat();
    let too_long = vec![0; 1_453];
    let far_too_long = vec![0; 9_000];
    let table: Vec<(Counter, Vec<u8>)> = vec![
        (C::RxTruncated, Vec::new()),
        (C::RxTruncated, datagram(accept())[..HEADER_LEN - 1].to_vec()),
        (C::RxMagic, altered(0, b'X')),
        (C::RxMagic, vec![0; 1_452]),
        (C::RxVersion, altered(4, 99)),
        (C::RxUnknown, altered(5, 77)),
        (C::RxUnknown, altered(7, 0x80)),
        (C::RxLength, lengthened),
        (C::RxLength, too_long),
        (C::RxLength, far_too_long),
        (C::RxRange, datagram(Header { first: Slot(0), ..accept() })),
        (C::RxUnknownGroup, datagram(Header { group: GroupId(9), ..accept() })),
        (C::RxForeignCluster, datagram(Header { cluster: ClusterId(9), ..accept() })),
        (C::RxStaleIncarnation, datagram(Header { incarnation: Incarnation(1), ..accept() })),
        (C::RxFutureIncarnation, datagram(Header { incarnation: Incarnation(3), ..accept() })),
        (C::RxNotMember, datagram(Header { sender: MemberIndex(9), ..accept() })),
        (C::RxNotMember, datagram(Header { sender: MemberIndex(0), ..accept() })),
        (C::RxMisdirected, datagram(Header { destination: 1, ..accept() })),
        (C::RxBadTag, datagram(Header { flags: flags::TAGGED, tag: 7, ..accept() })),
        (C::RxUnarmed, datagram(Header { ballot: Ballot(2), ..accept() })),
    ];
    let follower = Follower::new(None);
    for (counter, bytes) in table {
        let before = follower.node.stats();
        follower.leader.send_to(&bytes, follower.address()).unwrap();
        assert_eq!(follower.replies(&follower.leader), 0, "{} was answered", counter.name());
        let after = follower.node.stats();
        assert_eq!(
            after.count(counter),
            before.count(counter) + 1,
            "{}: {after:?}",
            counter.name()
        );
        assert_eq!(after.received(), before.received() + 1, "in one counter alone: {after:?}");
    }
    assert!(poll(&follower.node).is_empty(), "none of it reached the log");

    follower.leader.send_to(&datagram(accept()), follower.address()).unwrap();
    assert_eq!(follower.replies(&follower.leader), 1, "the good frame still is");
    assert_eq!(poll(&follower.node), [(Slot(1), b"body".to_vec())]);
}

#[test]
fn a_stranger_with_a_perfect_frame_is_counted_and_not_answered() {
    let follower = Follower::new(None);
    let stranger = bare_socket();
    stranger.send_to(&datagram(accept()), follower.address()).unwrap();
    assert_eq!(follower.replies(&stranger), 0);
    assert_eq!(follower.replies(&follower.leader), 0);
    assert_eq!(follower.node.stats().count(Counter::RxWrongAddress), 1);
    assert!(poll(&follower.node).is_empty());
}

#[test]
fn only_the_right_tag_passes_where_a_key_is_set() {
    let key = Key([7; 16]);
    let follower = Follower::new(Some(key));
    let tagged_with = |key: &Key| {
        let mut header = Header { flags: flags::TAGGED, ..accept() };
        let mut head = [0; HEADER_LEN];
        header.encode(&mut head);
        header.tag = tag_frame(key, &head, b"body");
        datagram(header)
    };
    let mut corrupt = tagged_with(&key);
    *corrupt.last_mut().unwrap() ^= 1;
    for bytes in [datagram(accept()), tagged_with(&Key([8; 16])), corrupt] {
        follower.leader.send_to(&bytes, follower.address()).unwrap();
        assert_eq!(follower.replies(&follower.leader), 0);
    }
    assert_eq!(follower.node.stats().count(Counter::RxBadTag), 3);
    follower.leader.send_to(&tagged_with(&key), follower.address()).unwrap();
    assert_eq!(follower.replies(&follower.leader), 1);
}

#[test]
fn an_authenticated_cluster_proposes() {
    let keyed = |node| EndpointConfig {
        key: Some(Key([3; 16])),
        ..config(node, Ipv4Addr::LOCALHOST.into())
    };
    let nodes = Cluster::with(3, keyed).join(GROUP, AckMode::Received);
    assert!(nodes[0].capabilities().authenticated);
    lead_and_follow(&nodes);
    nodes[0].try_broadcast(BALLOT, &[Frame::single(Slot(1), b"body")]).unwrap();
    drive_until(&nodes, "a quorum", || nodes[0].quorum(BALLOT).unwrap().through == Slot(1));
}

#[test]
fn a_member_with_another_key_neither_stores_nor_votes() {
    let keyed = |node: u64| EndpointConfig {
        key: Some(Key([if node == 3 { 9 } else { 3 }; 16])),
        ..config(node, Ipv4Addr::LOCALHOST.into())
    };
    let nodes = Cluster::with(3, keyed).join(GROUP, AckMode::Received);
    lead_and_follow(&nodes);
    nodes[0].try_broadcast(BALLOT, &[Frame::single(Slot(1), b"body")]).unwrap();
    drive_until(&nodes, "a quorum of the others", || {
        nodes[0].quorum(BALLOT).unwrap().through == Slot(1)
            && nodes[2].stats().count(Counter::RxBadTag) > 0
    });
    assert!(!nodes[0].quorum(BALLOT).unwrap().voters.contains(MemberIndex(2)));
    assert!(poll(&nodes[2]).is_empty());
}

#[test]
fn the_longest_body_arrives_and_a_longer_one_is_refused() {
    for datagram_len_max in [1_452, 8_952, 65_507] {
        let sized =
            |node| EndpointConfig { datagram_len_max, ..config(node, Ipv4Addr::LOCALHOST.into()) };
        let nodes = Cluster::with(3, sized).join(GROUP, AckMode::Received);
        lead_and_follow(&nodes);
        let max = nodes[0].capabilities().body_len_max;
        assert_eq!(max, datagram_len_max - HEADER_LEN);
        let body: Vec<_> = (0..=max).map(|index| index as u8).collect();
        let refused = nodes[0].try_broadcast(BALLOT, &[Frame::single(Slot(1), &body)]);
        assert!(
            matches!(refused, Err(TransportError::TooLarge { max: limit, .. }) if limit == max)
        );
        nodes[0].try_broadcast(BALLOT, &[Frame::single(Slot(1), &body[..max])]).unwrap();
        let mut got = Vec::new();
        drive_until(&nodes, "the body is there", || {
            got.extend(poll(&nodes[1]));
            !got.is_empty()
        });
        assert_eq!(got, [(Slot(1), body[..max].to_vec())]);
    }
}
