//! A shared transport is a transport: code generic over [`QuorumTransport`] also takes the
//! `Arc<dyn QuorumTransport>` that a backend picked at run time comes as.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::vec::Vec;

use crate::capabilities::{Acked, Capabilities, Interest, Probe, Quorum};
use crate::contract::{QuorumTransport, Result, TransportCore};
use crate::ident::{Ballot, GroupId, NodeId, Slot};
use crate::log::{FenceToken, Fenced, Frame, LogBatch};
use crate::membership::Membership;
use crate::stats::Stats;

macro_rules! pass_on {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $name(&self, $($argument: $kind),*) $(-> $result)? {
            (**self).$name($($argument),*)
        })*
    };
}

impl<T: TransportCore + ?Sized> TransportCore for Arc<T> {
    pass_on! {
        fn group() -> GroupId;
        fn node() -> NodeId;
        fn membership() -> Result<Arc<Membership>>;
        fn capabilities() -> Capabilities;
        fn stats() -> Stats;
        fn fence(ballot: Ballot) -> Result<Fenced>;
        fn lead(token: &FenceToken, next: Slot) -> Result<()>;
        fn follow(token: &FenceToken, leader: NodeId, next: Slot) -> Result<()>;
        fn resign(ballot: Ballot) -> Result<()>;
        fn reconfigure(membership: Membership) -> Result<()>;
        fn close();
        fn try_broadcast(ballot: Ballot, frames: &[Frame<'_>]) -> Result<usize>;
        fn quorum(ballot: Ballot) -> Result<Quorum>;
        fn acked(ballot: Ballot) -> Result<Acked>;
        fn set_commit(ballot: Ballot, commit: Slot) -> Result<()>;
        fn probe(ballot: Ballot) -> Result<Probe>;
        fn try_confirmed(probe: Probe) -> Result<bool>;
        fn try_poll_log(batch: &mut LogBatch) -> Result<usize>;
        fn acknowledge(ballot: Ballot, through: Slot) -> Result<()>;
        fn try_send(to: NodeId, body: &[u8]) -> Result<()>;
        fn try_recv(body: &mut Vec<u8>) -> Result<Option<NodeId>>;
        fn drive() -> Result<()>;
        fn wait(max: Duration) -> Result<()>;
        fn watch(interest: Interest, waker: &Waker) -> Result<()>;
        fn poll_broadcast(
            cx: &mut Context<'_>, ballot: Ballot, frames: &[Frame<'_>]
        ) -> Poll<Result<usize>>;
        fn poll_quorum(cx: &mut Context<'_>, ballot: Ballot, slot: Slot) -> Poll<Result<Quorum>>;
        fn poll_confirmed(cx: &mut Context<'_>, probe: Probe) -> Poll<Result<()>>;
        fn poll_log_ready(cx: &mut Context<'_>, batch: &mut LogBatch) -> Poll<Result<usize>>;
        fn poll_recv(cx: &mut Context<'_>, body: &mut Vec<u8>) -> Poll<Result<NodeId>>;
    }
}

impl<T: QuorumTransport + ?Sized> QuorumTransport for Arc<T> {}

#[cfg(all(test, feature = "memory"))]
mod tests {
    use super::*;
    use crate::memory::MemoryNetwork;
    use crate::{GroupConfig, QuorumRule};

    fn newest_fence(transport: impl QuorumTransport) -> Ballot {
        let fenced = transport.fence(Ballot(3)).expect("the first fence");
        fenced.token.ballot()
    }

    #[test]
    fn generic_code_takes_a_transport_picked_at_run_time() {
        let network = MemoryNetwork::new(1);
        let membership = network.membership(1, QuorumRule::Majority);
        let endpoint = network.endpoint(NodeId(1)).expect("a member");
        let joined = endpoint.join(GroupConfig::new(GroupId(1), membership)).expect("a new group");
        let shared: Arc<dyn QuorumTransport> = Arc::new(joined);
        assert_eq!(newest_fence(Arc::clone(&shared)), Ballot(3));
        // It was the shared one that was fenced.
        assert!(shared.fence(Ballot(2)).is_err());
    }
}
