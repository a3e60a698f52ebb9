//! A member's line: time-outs, back-off, and bursts.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::ident::{ClusterId, NodeId};

const MS: u64 = 1_000_000;

/// Time-outs between 10 and 500 ms.
fn config() -> EndpointConfig {
    EndpointConfig::new(ClusterId(1), NodeId(1), SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
}

#[test]
fn the_time_out_follows_the_round_trip() {
    let (config, mut peer) = (config(), Peer::new(Slot(1)));
    assert_eq!(peer.timeout_ns(&config), 20 * MS, "twice the least before anything is known");
    peer.measure(30 * MS);
    assert_eq!(peer.timeout_ns(&config), 90 * MS, "RFC 6298, 2.2: R + 4 * R/2");
    for _ in 0..200 {
        peer.measure(30 * MS);
    }
    assert!((30 * MS..31 * MS).contains(&peer.timeout_ns(&config)), "a steady line is trusted");
    for _ in 0..200 {
        peer.measure(0);
    }
    assert_eq!(peer.timeout_ns(&config), 10 * MS, "never below the least");
    peer.measure(u64::MAX);
    assert_eq!(peer.timeout_ns(&config), 500 * MS, "never above the most, whatever the clock did");
    peer.measure(u64::MAX);
    assert_eq!(peer.pace_ns(&config).min(500 * MS), 500 * MS);
}

#[test]
fn backing_off_doubles_up_to_the_most_and_progress_ends_it() {
    let (config, mut peer) = (config(), Peer::new(Slot(1)));
    peer.arm(Time(0), &config);
    assert_eq!(peer.deadline, Some(Time(20 * MS)));
    peer.arm(Time(5 * MS), &config);
    assert_eq!(peer.deadline, Some(Time(20 * MS)), "a running time-out is not put off");
    for expected in [40, 80, 160, 320, 500, 500] {
        peer.back_off(Time(0), &config);
        assert_eq!(peer.deadline, Some(Time(expected * MS)));
    }
    for _ in 0..100 {
        peer.back_off(Time(u64::MAX - 1), &config);
    }
    assert_eq!(peer.deadline, Some(Time(u64::MAX)), "time ends, arithmetic does not");
    peer.rearm(true, Time(MS), &config);
    assert_eq!(peer.deadline, Some(Time(21 * MS)));
    peer.rearm(false, Time(MS), &config);
    assert_eq!(peer.deadline, None);
}

#[test]
fn a_burst_is_not_repeated_within_a_round_trip() {
    let (config, mut peer) = (config(), Peer::new(Slot(1)));
    assert!(peer.may_burst(Time(0), &config));
    peer.burst_sent(Slot(9), Time(100));
    assert!(!peer.may_burst(Time(100), &config));
    peer.measure(2 * MS);
    let pace = peer.pace_ns(&config);
    assert_eq!(pace, 3 * MS);
    assert!(!peer.may_burst(Time(99 + pace), &config));
    assert!(peer.may_burst(Time(100 + pace), &config));
}
