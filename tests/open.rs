//! What a user of the face sees: the choice is told, a demand is never met by something else, and
//! the opened endpoint replicates.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use electrode::{
    AckMode, Ballot, Choice, ClusterId, EndpointConfig, Frame, GroupConfig, GroupId, Incarnation,
    LogBatch, Member, Membership, NodeId, Options, QuorumRule, QuorumTransport, Slot,
    TransportError,
};

fn options(node: u64) -> Options {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Options::new(EndpointConfig::new(ClusterId(1), NodeId(node), any))
}

#[test]
fn auto_says_what_it_picked_and_why() {
    let endpoint = electrode::open(options(1)).unwrap();
    assert_eq!(endpoint.backend().name, "socket");
    assert!(endpoint.backend().why.contains("auto"), "{:?}", endpoint.backend());
    assert_ne!(endpoint.local_addr().port(), 0);
}

#[test]
fn a_demand_for_ebpf_is_refused_and_not_met_by_sockets() {
    let demand = Options { backend: Choice::Ebpf, ..options(1) };
    match electrode::open(demand) {
        Err(TransportError::Unavailable { backend: "ebpf", why }) => {
            assert!(why.contains("socket"), "the way out is named: {why}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_of_backends() {
    assert_eq!("auto".parse(), Ok(Choice::Auto));
    assert_eq!("socket".parse(), Ok(Choice::Socket));
    assert_eq!("ebpf".parse(), Ok(Choice::Ebpf));
    let error = "udp".parse::<Choice>().unwrap_err().to_string();
    assert!(error.contains("udp") && error.contains("socket"), "{error}");
}

#[tokio::test]
async fn three_endpoints_replicate_through_dyn_handles() -> electrode::Result<()> {
    let endpoints: Vec<_> =
        (1..=3).map(|node| electrode::open(options(node))).collect::<Result<_, _>>()?;
    let members = endpoints
        .iter()
        .zip(1..)
        .map(|(endpoint, id)| Member::voter(NodeId(id), endpoint.local_addr()));
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority)?;
    let mut config = GroupConfig::new(GroupId(1), membership);
    config.mode = AckMode::Received;
    let nodes: Vec<Arc<dyn QuorumTransport>> =
        endpoints.iter().map(|endpoint| endpoint.join(config.clone())).collect::<Result<_, _>>()?;

    let lead = nodes[0].fence(Ballot(1))?;
    nodes[0].lead(&lead.token, Slot(1))?;
    for follower in &nodes[1..] {
        let fenced = follower.fence(Ballot(1))?;
        follower.follow(&fenced.token, NodeId(1), Slot(1))?;
    }
    let mut batch = LogBatch::default();
    let (stored, polled) = tokio::join!(
        async {
            nodes[0].broadcast(Ballot(1), &[Frame::single(Slot(1), b"entry")]).await?;
            nodes[0].await_quorum(Ballot(1), Slot(1)).await
        },
        nodes[1].poll_log(&mut batch),
    );
    assert_eq!(stored?.through, Slot(1));
    assert_eq!(polled?, 1);
    assert_eq!(batch.iter().next().map(|entry| entry.body), Some(&b"entry"[..]));
    Ok(())
}
