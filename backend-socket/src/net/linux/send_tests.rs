//! Datagrams in one piece: what is joined, what arrives, what happens if the system does not cut.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use super::*;
use crate::net::SocketOptions;

fn bound() -> Socket {
    Socket::bind((Ipv4Addr::LOCALHOST, 0).into(), &SocketOptions::default()).unwrap()
}

fn receiver() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

/// Datagrams of these lengths, no two alike.
fn bodies(lens: &[usize]) -> Vec<Vec<u8>> {
    lens.iter().enumerate().map(|(index, &len)| vec![index as u8; len]).collect()
}

fn to<'a>(to: SocketAddr, bodies: &'a [Vec<u8>]) -> Vec<Transmit<'a>> {
    bodies.iter().map(|bytes| Transmit { to, bytes }).collect()
}

/// How many datagrams each message would hold.
fn layout(transmits: &[Transmit<'_>], may_join: impl Fn(&[u8], &[u8]) -> bool) -> Vec<usize> {
    let mut batch = SendBatch::new();
    assert_eq!(batch.prepare_all(transmits.iter().copied(), may_join), transmits.len());
    batch.counts
}

#[test]
fn a_piece_is_of_one_length_but_for_its_end() {
    let one = "192.0.2.1:7".parse().unwrap();
    let joined = |lens: &[usize]| layout(&to(one, &bodies(lens)), |_, _| true);
    assert_eq!(joined(&[80, 80, 80]), [3]);
    assert_eq!(joined(&[80, 80, 79, 79]), [3, 1], "a shorter one is the last");
    assert_eq!(joined(&[80, 81, 81]), [1, 2], "a longer one begins anew");
    assert_eq!(joined(&[80, 0, 80]), [1, 1, 1], "an empty one would be lost");
    assert_eq!(joined(&[72; 65]), [SEGMENTS_MAX, 1]);
    assert_eq!(joined(&[9_000; 8]), [7, 1], "63,000 bytes and no more fit a packet");
}

#[test]
fn only_what_goes_to_one_address_and_may_be_joined_is() {
    let bodies = bodies(&[80; 4]);
    let mut transmits = to("192.0.2.1:7".parse().unwrap(), &bodies);
    assert_eq!(layout(&transmits, |_, _| false), [1; 4]);
    assert_eq!(layout(&transmits, |one, next| (one[0], next[0]) != (1, 2)), [2, 2]);
    transmits[1].to = "192.0.2.1:8".parse().unwrap();
    assert_eq!(layout(&transmits, |_, _| true), [1, 1, 2]);
}

/// Sends all of it, and looks whether it arrives as it was, in order.
fn arrives(batch: &mut SendBatch, socket: &Socket, lens: &[usize]) {
    let receiver = receiver();
    let bodies = bodies(lens);
    let transmits = to(receiver.local_addr().unwrap(), &bodies);
    let mut sent = 0;
    while sent < transmits.len() {
        sent += batch.send(socket, transmits[sent..].iter().copied(), |_, _| true).unwrap();
    }
    let mut buffer = [0; 4_096];
    for body in &bodies {
        let len = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], body);
    }
}

#[test]
fn pieces_arrive_as_the_datagrams_that_they_were() {
    let (mut batch, socket) = (SendBatch::new(), bound());
    let lens = [&[100; 70][..], &[60, 2_000, 2_000, 1_999, 1, 1]].concat();
    arrives(&mut batch, &socket, &lens);
    // The same headers again, as messages of one datagram each.
    arrives(&mut batch, &socket, &[1, 2, 3, 4]);
    assert!(batch.whole_until.is_none());
}

#[test]
fn what_the_system_does_not_cut_goes_one_by_one() {
    let (mut batch, socket) = (SendBatch::new(), bound());
    // Datagrams without a checksum are not cut.
    socket.set_option(libc::SO_NO_CHECK, 1).unwrap();
    arrives(&mut batch, &socket, &[100; 9]);
    let until = batch.whole_until.expect("nobody asks again for a while");
    arrives(&mut batch, &socket, &[100; 9]);
    assert_eq!(batch.whole_until, Some(until));
    // And then it is asked again.
    socket.set_option(libc::SO_NO_CHECK, 0).unwrap();
    batch.whole_until = Some(Instant::now());
    arrives(&mut batch, &socket, &[100; 9]);
    assert_eq!(batch.counts, [9]);
}
