//! The tables of real namespaces. These need root.

use std::net::{IpAddr, UdpSocket};

use super::testing::{Space, until};
use super::*;
use crate::error::EbpfError;
use crate::privileged::is_privileged;

const MAC_TWO: [u8; 6] = [2, 0, 0, 0, 0x77, 2];

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Everything is opened inside and used from outside.
fn open(space: &Space, own: IpAddr) -> (Interface, NextHops, Watch) {
    space.inside(|| {
        let interface = Interface::of_address(own).unwrap();
        let hops = NextHops::open(interface.index, own).unwrap();
        let watch = Watch::open(interface.index).unwrap();
        (interface, hops, watch)
    })
}

fn hop(hops: &mut NextHops, peer: IpAddr) -> Result<NextHop, Unreachable> {
    hops.read([peer]).unwrap()[&peer]
}

/// Makes the kernel ask for the next hop's hardware address.
fn say_something(space: &Space, from: IpAddr, to: IpAddr) {
    space.inside(|| {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        // Where nobody answers the kernel may report that on a later call: not what is asked here.
        let _ = socket.send_to(b"hello", (to, 9));
    });
}

/// Waits for a change that satisfies the condition; merges nothing, so nothing may be missed.
fn wait(watch: &mut Watch, what: &str, matches: impl Fn(&Changes) -> bool) {
    until(what, || matches(&watch.poll().unwrap()));
}

#[test]
fn an_interface_tells_what_it_is() {
    if !is_privileged("an_interface_tells_what_it_is") {
        return;
    }
    let (one, _two) = Space::pair();
    one.ip("link add elbridge type bridge");
    one.ip("tuntap add dev eltap mode tap");
    one.ip("tuntap add dev eltun mode tun");
    one.inside(|| {
        let veth = Interface::of_address(address("fd77::1")).unwrap();
        assert_eq!(veth, Interface::of_address(address("10.77.0.1")).unwrap());
        assert_eq!(veth, Interface::by_name("el0").unwrap());
        assert_eq!(veth, Interface::by_index(veth.index).unwrap());
        assert_eq!((veth.name.as_str(), &veth.kind), ("el0", &InterfaceKind::Veth));
        assert_eq!((veth.mac, veth.mtu), (Some([2, 0, 0, 0, 0x77, 1]), 1_500));
        assert_eq!(veth.driver.as_deref(), Some("veth"));
        assert!(veth.up && veth.running);
        assert_eq!(veth.veth_peer.map(|(_, here)| here), Some(false));
        let kind = |name: &str| Interface::by_name(name).unwrap().kind;
        assert_eq!(kind("elbridge"), InterfaceKind::Bridge);
        assert_eq!(kind("eltap"), InterfaceKind::Tap);
        assert_eq!(kind("eltun"), InterfaceKind::Tun);
        assert_eq!(kind("lo"), InterfaceKind::Loopback);
        assert_eq!(Interface::by_name("eltun").unwrap().mac, None);
        assert!(!Interface::by_name("eltap").unwrap().up);

        let nobody = address("10.77.0.9");
        let error = Interface::of_address(nobody).unwrap_err();
        assert!(matches!(error, EbpfError::AddressNotLocal { address } if address == nobody));
        for name in ["el9", "", "a-name-that-is-too-long"] {
            let error = Interface::by_name(name).unwrap_err();
            assert!(matches!(error, EbpfError::NoSuchInterface { .. }), "{name}: {error}");
        }
        let error = Interface::by_index(0).unwrap_err();
        assert!(matches!(error, EbpfError::NoSuchInterface { .. }));
    });
}

#[test]
fn a_neighbours_address_is_found_and_followed() {
    if !is_privileged("a_neighbours_address_is_found_and_followed") {
        return;
    }
    for (own, peer) in [("10.77.0.1", "10.77.0.2"), ("fd77::1", "fd77::2")] {
        let (own, peer) = (address(own), address(peer));
        let (one, two) = Space::pair();
        let (_, mut hops, mut watch) = open(&one, own);
        assert_eq!(hop(&mut hops, peer), Err(Unreachable::NotAsked { next_hop: peer }));
        say_something(&one, own, peer);
        wait(&mut watch, "the neighbour is known", |changes| changes.neighbours);
        until("it can be sent to", || hop(&mut hops, peer).is_ok());
        assert_eq!(hop(&mut hops, peer), Ok(NextHop { address: peer, mac: MAC_TWO }));

        // The peer gets another card.
        while watch.poll().unwrap().any() {}
        two.ip("link set el0 address 02:00:00:00:77:99");
        one.ip(&format!("neighbour del {peer} dev el0"));
        wait(&mut watch, "it is forgotten", |changes| changes.neighbours);
        say_something(&one, own, peer);
        let new = NextHop { address: peer, mac: [2, 0, 0, 0, 0x77, 0x99] };
        until("the new address is known", || hop(&mut hops, peer) == Ok(new));
        wait(&mut watch, "the change was told", |changes| changes.neighbours);
    }
}

#[test]
fn a_changed_address_of_a_permanent_neighbour_is_told() {
    if !is_privileged("a_changed_address_of_a_permanent_neighbour_is_told") {
        return;
    }
    let (one, _two) = Space::pair();
    let peer = address("10.77.0.7");
    let (_, mut hops, mut watch) = open(&one, address("10.77.0.1"));
    for last in [7u8, 8] {
        let mac = format!("02:00:00:00:00:{last:02x}");
        one.ip(&format!("neighbour replace {peer} lladdr {mac} nud permanent dev el0"));
        wait(&mut watch, "the entry is told", |changes| changes.neighbours);
        let expected = NextHop { address: peer, mac: [2, 0, 0, 0, 0, last] };
        assert_eq!(hop(&mut hops, peer), Ok(expected));
    }
}

#[test]
fn a_peer_that_is_not_there_has_a_reason() {
    if !is_privileged("a_peer_that_is_not_there_has_a_reason") {
        return;
    }
    let (one, _two) = Space::pair();
    one.ip("link add elother type veth peer name elother2");
    one.ip("address add 10.78.0.1/24 dev elother");
    one.ip("link set elother up");
    one.ip("link set elother2 up");
    one.ip("route add blackhole 10.79.0.0/16");
    one.ip("route add unreachable 10.80.0.0/16");
    one.ip("route add 10.81.0.0/16 dev el0 via 10.77.0.66");
    let own = address("10.77.0.1");
    let (_, mut hops, _watch) = open(&one, own);
    let other = one.inside(|| Interface::by_name("elother").unwrap().index);
    let silent = address("10.77.0.3");
    say_something(&one, own, silent);
    assert_eq!(hop(&mut hops, silent), Err(Unreachable::Asking { next_hop: silent }));
    until("it is given up", || {
        hop(&mut hops, silent) == Err(Unreachable::NoAnswer { next_hop: silent })
    });
    let gateway = address("10.77.0.66");
    for (peer, reason) in [
        ("10.78.0.2", Unreachable::OtherInterface { index: other }),
        ("10.77.0.1", Unreachable::Local),
        ("127.0.0.1", Unreachable::Local),
        ("10.79.0.1", Unreachable::NoRoute),
        ("10.80.0.1", Unreachable::NoRoute),
        ("192.0.2.1", Unreachable::NoRoute),
        ("10.81.0.1", Unreachable::NotAsked { next_hop: gateway }),
    ] {
        assert_eq!(hop(&mut hops, address(peer)), Err(reason), "{peer}");
    }
}

#[test]
fn behind_a_gateway_the_gateways_address_counts() {
    if !is_privileged("behind_a_gateway_the_gateways_address_counts") {
        return;
    }
    for (own, gateway, far, net) in [
        ("10.77.0.1", "10.77.0.2", "10.99.0.5", "10.99.0.0/16"),
        ("fd77::1", "fd77::2", "fd99::5", "fd99::/32"),
        // An IPv4 route by way of an IPv6 gateway.
        ("10.77.0.1", "fd77::2", "10.99.0.5", "10.99.0.0/16"),
    ] {
        let (one, _two) = Space::pair();
        let (own, via, far) = (address(own), address(gateway), address(far));
        let (_, mut hops, mut watch) = open(&one, own);
        assert_eq!(hop(&mut hops, far), Err(Unreachable::NoRoute));
        while watch.poll().unwrap().any() {}
        let family = if via.is_ipv6() { "inet6" } else { "inet" };
        one.ip(&format!("route add {net} via {family} {gateway} dev el0"));
        wait(&mut watch, "the route is told", |changes| changes.routes);
        say_something(&one, own, far);
        let expected = Ok(NextHop { address: via, mac: MAC_TWO });
        until("the gateway is known", || hop(&mut hops, far) == expected);
        one.ip(&format!("route del {net}"));
        wait(&mut watch, "the route's end is told", |changes| changes.routes);
        assert_eq!(hop(&mut hops, far), Err(Unreachable::NoRoute));
    }
}

#[test]
fn a_link_that_falls_rises_is_renamed_and_deleted_is_followed() {
    if !is_privileged("a_link_that_falls_rises_is_renamed_and_deleted_is_followed") {
        return;
    }
    let (one, two) = Space::pair();
    let (interface, mut hops, mut watch) = open(&one, address("10.77.0.1"));
    assert_eq!(watch.state(), LinkState::Up);
    two.ip("link set el0 down"); // Takes the carrier.
    wait(&mut watch, "the link is down", |changes| changes.link == Some(LinkState::Down));
    two.ip("link set el0 up");
    wait(&mut watch, "the link is up", |changes| changes.link == Some(LinkState::Up));
    one.ip("link set el0 down");
    wait(&mut watch, "the link is off", |changes| changes.link == Some(LinkState::Down));
    let peer = address("10.77.0.2");
    assert_eq!(hop(&mut hops, peer), Err(Unreachable::NoRoute));
    one.ip("link set el0 name elnew");
    wait(&mut watch, "it is renamed", |changes| changes.interface);
    assert_eq!(
        (watch.interface().name.as_str(), watch.interface().index),
        ("elnew", interface.index)
    );
    one.ip("link set elnew mtu 1400");
    wait(&mut watch, "its MTU is less", |changes| changes.interface);
    assert_eq!(watch.interface().mtu, 1_400);
    one.ip("address del 10.77.0.1/24 dev elnew");
    wait(&mut watch, "its address is gone", |changes| changes.addresses);
    one.ip("link del elnew");
    wait(&mut watch, "it is gone", |changes| changes.link == Some(LinkState::Gone));
    assert_eq!(hop(&mut hops, peer), Err(Unreachable::NoRoute));
    let error = one.inside(|| Watch::open(interface.index).unwrap_err());
    assert!(matches!(error, EbpfError::NoSuchInterface { .. }));
}

#[test]
fn a_bridge_that_loses_a_port_is_no_deleted_link() {
    if !is_privileged("a_bridge_that_loses_a_port_is_no_deleted_link") {
        return;
    }
    let (one, _two) = Space::pair();
    one.ip("link add elbridge type bridge");
    one.ip("link set el0 master elbridge");
    let (_, _, mut watch) = open(&one, address("10.77.0.1"));
    one.ip("link set el0 nomaster");
    // Its own rename comes after everything that the bridge had to say.
    one.ip("link set el0 mtu 1400");
    wait(&mut watch, "the link is told", |changes| changes.interface);
    assert_ne!(watch.state(), LinkState::Gone);
}

#[test]
fn more_changes_than_fit_are_an_overrun_and_the_link_is_read_again() {
    if !is_privileged("more_changes_than_fit_are_an_overrun") {
        return;
    }
    let (one, _two) = Space::pair();
    let (_, _, mut watch) = open(&one, address("10.77.0.1"));
    watch.socket.set_rx_buf_sz(1i32).unwrap(); // The kernel takes the least it allows.
    one.ip("link set el0 mtu 1400");
    for round in 0..20 {
        one.ip(&format!("neighbour add 10.77.0.{} lladdr 02:00:00:00:00:07 dev el0", 10 + round));
    }
    one.ip("link set el0 name elnew");
    one.ip("link set elnew down");
    let mut overrun = None;
    until("there is an overrun", || {
        overrun = Some(watch.poll().unwrap()).filter(|changes| changes.overrun);
        overrun.is_some()
    });
    let changes = overrun.unwrap();
    assert!(changes.neighbours && changes.routes && changes.addresses);
    assert_eq!(watch.interface().name, "elnew");
    assert_eq!((watch.interface().mtu, watch.state()), (1_400, LinkState::Down));
}
