//! What the simulated network does to datagrams.

use std::net::SocketAddr;
use std::time::Duration;
use std::vec::Vec;

use crate::ident::Time;

/// A link's behaviour, one direction. Probabilities are between 0 and 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Faults {
    /// The shortest time under way.
    pub delay_min: Duration,
    /// The longest time under way; datagrams overtake each other within the difference.
    pub delay_max: Duration,
    /// How likely a datagram is lost.
    pub loss: f64,
    /// How likely it arrives twice.
    pub duplication: f64,
    /// How likely it is held back for ten times the longest delay.
    pub reordering: f64,
}

impl Default for Faults {
    /// A quiet local network: 50 to 100 microseconds, nothing lost.
    fn default() -> Self {
        Self {
            delay_min: Duration::from_micros(50),
            delay_max: Duration::from_micros(100),
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
        }
    }
}

impl Faults {
    /// A bad network: a tenth lost, a tenth doubled, a tenth late.
    #[must_use]
    pub fn lossy() -> Self {
        Self { loss: 0.1, duplication: 0.1, reordering: 0.1, ..Self::default() }
    }
}

/// One datagram as it left its sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Captured {
    /// When.
    pub at: Time,
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// The datagram.
    pub bytes: Vec<u8>,
}
