//! A first look: three nodes in one process replicate a few entries over loopback UDP.
//!
//! ```sh
//! cargo run --example quorum
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use electrode::{
    Ballot, ClusterId, EndpointConfig, Frame, GroupConfig, GroupId, Incarnation, LogBatch, Member,
    Membership, NodeId, Options, QuorumRule, QuorumTransport, Result, Slot,
};

/// Who may propose now. A consensus library agrees on it; here everybody knows.
const BALLOT: Ballot = Ballot(1);

#[tokio::main]
async fn main() -> Result<()> {
    let endpoints = [1, 2, 3].map(|node| {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = EndpointConfig::new(ClusterId(7), NodeId(node), any_port);
        electrode::open(Options::new(config))
    });
    let [one, two, three] = endpoints;
    let (one, two, three) = (one?, two?, three?);
    println!("{}", one.backend());

    let members = [(1, &one), (2, &two), (3, &three)]
        .map(|(node, endpoint)| Member::voter(NodeId(node), endpoint.local_addr()));
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority)?;
    let group = GroupConfig::new(GroupId(1), membership);

    let leader = one.join(group.clone())?;
    for endpoint in [&two, &three] {
        tokio::spawn(follow(endpoint.join(group.clone())?));
    }
    lead(&*leader).await
}

async fn lead(transport: &dyn QuorumTransport) -> Result<()> {
    let fenced = transport.fence(BALLOT)?;
    transport.lead(&fenced.token, Slot(1))?;
    for (slot, word) in (1..).map(Slot).zip(["first", "second", "third"]) {
        transport.broadcast(BALLOT, &[Frame::single(slot, word.as_bytes())]).await?;
        // Here the leader stores the entry itself; then its own vote counts too.
        transport.acknowledge(BALLOT, slot)?;
        let quorum = transport.await_quorum(BALLOT, slot).await?;
        let membership = transport.membership()?;
        let voters: Vec<_> = membership.names(quorum.voters).map(|node| node.to_string()).collect();
        println!("slot {slot} ({word:?}) is stored by nodes {}", voters.join(" and "));
    }
    transport.confirm_leadership(BALLOT).await?;
    println!("and node {} still leads: a read here is linearizable", transport.node());
    Ok(())
}

async fn follow(transport: Arc<dyn QuorumTransport>) -> Result<()> {
    let fenced = transport.fence(BALLOT)?;
    transport.follow(&fenced.token, NodeId(1), Slot(1))?;
    let mut batch = LogBatch::default();
    loop {
        transport.poll_log(&mut batch).await?;
        for entry in batch.iter() {
            // Here the follower stores entry.body; then it may be counted.
            transport.acknowledge(entry.ballot, entry.last)?;
        }
    }
}
