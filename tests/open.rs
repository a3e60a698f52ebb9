//! Opening a backend as a service does.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![cfg(feature = "socket")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use electrode::{
    Ballot, Choice, ClusterId, Endpoint, EndpointConfig, Frame, GroupConfig, GroupId, Incarnation,
    LogBatch, Member, Membership, NodeId, Options, QuorumRule, QuorumTransport, Slot,
    TransportEndpoint, TransportError,
};

fn options(node: u64) -> Options {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    Options::new(EndpointConfig::new(ClusterId(1), NodeId(node), any_port))
}

fn group(addresses: &[SocketAddr]) -> GroupConfig {
    let members = (1..).zip(addresses).map(|(id, &at)| Member::voter(NodeId(id), at));
    let membership = Membership::new(Incarnation(1), members, QuorumRule::All).unwrap();
    GroupConfig::new(GroupId(1), membership)
}

/// Library code: it knows the trait and nothing else. Returns what the follower's log yielded.
fn replicate<T: QuorumTransport + ?Sized>(leader: &T, follower: &T) -> Vec<u8> {
    let ballot = Ballot(1);
    leader.lead(&leader.fence(ballot).unwrap().token, Slot(1)).unwrap();
    let token = follower.fence(ballot).unwrap().token;
    follower.follow(&token, leader.node(), Slot(1)).unwrap();
    leader.try_broadcast(ballot, &[Frame::single(Slot(1), b"entry")]).unwrap();
    leader.acknowledge(ballot, Slot(1)).unwrap();

    let (mut batch, mut yielded) = (LogBatch::default(), Vec::new());
    let deadline = Instant::now() + Duration::from_secs(10);
    while leader.quorum(ballot).unwrap().through < Slot(1) {
        assert!(Instant::now() < deadline, "no quorum in ten seconds");
        follower.wait(Duration::from_millis(1)).unwrap();
        follower.try_poll_log(&mut batch).unwrap();
        for entry in batch.iter() {
            yielded.extend_from_slice(entry.body);
            follower.acknowledge(entry.ballot, entry.last).unwrap();
        }
        leader.wait(Duration::from_millis(1)).unwrap();
    }
    yielded
}

#[test]
fn auto_opens_what_works_and_says_why() {
    let endpoints: Vec<Endpoint> =
        (1..=2).map(|node| electrode::open(options(node)).unwrap()).collect();
    let selected = endpoints[0].backend();
    assert_eq!(selected.name, "socket", "no frame leaves by the loopback");
    let why = if cfg!(feature = "ebpf") { "instead of ebpf" } else { "the best" };
    assert!(selected.to_string().starts_with(&format!("socket backend: {why}")), "{selected}");

    let config = group(&[endpoints[0].local_addr(), endpoints[1].local_addr()]);
    let [leader, follower] = [0, 1].map(|at| endpoints[at].join(config.clone()).unwrap());
    assert_eq!(leader.capabilities().backend, selected.name);
    assert_eq!(replicate(&*leader, &*follower), b"entry");
    assert!(endpoints[1].stats().received() > 0);

    endpoints[0].close();
    assert!(matches!(leader.fence(Ballot(2)), Err(TransportError::Closed)));
    let again = options(1).endpoint;
    let again = EndpointConfig { bind: endpoints[0].local_addr(), ..again };
    electrode::open(Options::new(again)).expect("closing freed the port");
}

#[test]
fn the_alias_serves_the_same_library_code_without_dynamic_dispatch() {
    let endpoints = [1, 2]
        .map(|node| TransportEndpoint::bind(options(node).endpoint, options(node).socket).unwrap());
    let config = group(&[endpoints[0].local_addr(), endpoints[1].local_addr()]);
    let [leader, follower]: [electrode::Transport; 2] =
        [0, 1].map(|at| endpoints[at].join(config.clone()).unwrap());
    assert_eq!(replicate(&leader, &follower), b"entry");
}

#[test]
#[cfg(not(feature = "ebpf"))]
fn a_backend_that_is_not_built_in_is_an_error_that_helps() {
    let error = electrode::open(options(1).with_backend(Choice::Ebpf)).unwrap_err();
    let TransportError::Unavailable { backend: "ebpf", reason, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*reason, electrode::Obstacle::NotBuilt);
    assert!(error.to_string().contains("choose auto or socket"), "{error}");
    let auto = electrode::open(options(1)).unwrap();
    assert_eq!(auto.backend().fallback, None, "nothing else was wanted");
    assert_eq!(auto.stats().count(electrode::Counter::Fallbacks), 0);
}

#[test]
fn an_address_that_is_taken_is_no_reason_to_fall_back() {
    let socket = electrode::open(options(1).with_backend(Choice::Socket)).unwrap();
    assert_eq!(socket.backend().to_string(), "socket backend: it was asked for");
    for backend in [Choice::Auto, Choice::Socket] {
        let taken = EndpointConfig { bind: socket.local_addr(), ..options(2).endpoint };
        let error = electrode::open(Options::new(taken).with_backend(backend)).unwrap_err();
        assert!(matches!(error, TransportError::AddressInUse { .. }), "{error}");
    }
}

#[test]
fn choices_are_read_as_they_are_printed() {
    for choice in [Choice::Auto, Choice::Socket, Choice::Ebpf] {
        assert_eq!(choice.to_string().parse(), Ok(choice));
    }
    let error = "xdp".parse::<Choice>().unwrap_err();
    assert_eq!(error.to_string(), "no backend is called \"xdp\": use auto, socket or ebpf");
}
