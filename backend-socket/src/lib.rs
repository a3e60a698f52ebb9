//! The [Electrode transport contract](electrode_transport) over UDP sockets: any system, no
//! privileges.
//!
//! A node binds one [`SocketEndpoint`] and opens its groups on it; each gives a [`SocketTransport`],
//! which is a [`TransportCore`](electrode_transport::TransportCore) and a
//! [`QuorumTransport`](electrode_transport::QuorumTransport). Three members in one process:
//!
//! ```
//! use electrode_backend_socket::{SocketEndpoint, SocketOptions};
//! use electrode_transport::{
//!     AckMode, Ballot, ClusterId, EndpointConfig, Frame, GroupConfig, GroupId, Incarnation, LogBatch,
//!     Member, Membership, NodeId, QuorumRule, QuorumTransport, Slot, TransportCore, TransportError,
//! };
//!
//! # #[cfg(feature = "tokio")]
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), TransportError> {
//!     let bind = |id| {
//!         // Port 0: the system chooses, and `local_addr` tells.
//!         let config = EndpointConfig::new(ClusterId(7), NodeId(id), ([127, 0, 0, 1], 0).into());
//!         SocketEndpoint::bind(config, SocketOptions::default())
//!     };
//!     let endpoints = [bind(1)?, bind(2)?, bind(3)?];
//!     let members = endpoints.iter().zip(1..).map(|(endpoint, id)| Member::voter(NodeId(id), endpoint.local_addr()));
//!     let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority)?;
//!     let mut config = GroupConfig::new(GroupId(1), membership);
//!     config.mode = AckMode::Received;
//!     let [leader, one, two] = endpoints.each_ref().map(|endpoint| endpoint.join(config.clone()));
//!     let (leader, one, two) = (leader?, one?, two?);
//!
//!     leader.lead(&leader.fence(Ballot(1))?.token, Slot(1))?;
//!     for follower in [&one, &two] {
//!         follower.follow(&follower.fence(Ballot(1))?.token, NodeId(1), Slot(1))?;
//!     }
//!     leader.broadcast(Ballot(1), &[Frame::single(Slot(1), b"hello")]).await?;
//!     let mut batch = LogBatch::default();
//!     one.poll_log(&mut batch).await?;
//!     assert_eq!(batch.iter().next().map(|entry| entry.body), Some(&b"hello"[..]));
//!     assert_eq!(leader.await_quorum(Ballot(1), Slot(1)).await?.through, Slot(1));
//!     Ok(())
//! }
//! # #[cfg(not(feature = "tokio"))]
//! # fn main() {}
//! ```
//!
//! # Who moves it
//!
//! - **A plain thread** calls [`drive`](electrode_transport::TransportCore::drive), which never
//!   blocks, or [`wait`](electrode_transport::TransportCore::wait), which sleeps until there is
//!   something to do. Other threads may make any call meanwhile.
//! - **A task** that waits in an async or `poll_*` call has a driver started for its endpoint: a task
//!   on the current tokio runtime (feature `tokio`, on by default; Linux), whose I/O and time must be
//!   enabled, or else a thread. There is one at a time. If its runtime ends, the next call that waits
//!   starts another. A current-thread runtime that lives but is not being run drives nothing.
//!
//! A driver moves datagrams and timers; it polls no log and so renews no lease. A node that only
//! follows and never waits must be driven by its own thread: nobody else reads its socket.
//!
//! # What it costs
//!
//! On Linux a broadcast, or a batch of them, leaves in one `sendmmsg`, what has arrived comes in by
//! one `recvmmsg`, and the acknowledgements of a batch leave in one `sendmmsg` again. In steady state
//! no message allocates. Elsewhere each datagram is a call. The endpoint's
//! [`Stats`](electrode_transport::Stats) count the calls.
//!
//! # What it promises when the network does not
//!
//! A datagram that the system refuses for good is counted as `tx_errors`, and retransmission makes up
//! for it; one that it has no room for waits in a bounded queue, and a full queue is
//! [`Backpressure`](electrode_transport::TransportError::Backpressure). Datagrams from strangers,
//! malformed or over-long ones are counted by reason and never answered. Closing the endpoint, or
//! dropping it with all of its transports, frees the port before it returns.
#![allow(unexpected_cfgs, reason = "`--cfg electrode_portable` tests the portable module on Linux")]
#![cfg_attr(
    not(all(feature = "tokio", target_os = "linux", not(electrode_portable))),
    allow(dead_code, reason = "some of `Core` is for the driver's task alone")
)]

pub mod accelerate;
mod core;
mod driver;
mod endpoint;
mod host;
mod net;

pub use endpoint::SocketEndpoint;
pub use host::{SocketHost, SocketTransport};
pub use net::SocketOptions;
