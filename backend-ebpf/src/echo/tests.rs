//! The self-test on interfaces of which it is known what it must find.

use std::fs;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use electrode_conformance::testbed::{MTU_PLAIN, TapBed};
use electrode_ebpf_abi::Endpoint;
use electrode_transport::{ClusterId, EndpointConfig, NodeId, Obstacle, TransportError};

use crate::attach::Attachment;
use crate::hook::Hook;
use crate::kernel::{Kernel, Settings};
use crate::net::testing::{Space, until};
use crate::net::{Interface, transmitted};
use crate::options::{EbpfOptions, HookChoice};
use crate::privileged::is_privileged;
use crate::survey::{Proof, Survey};
use crate::{EbpfEndpoint, probe};

const LEN: usize = 1_452;

/// Two namespaces and a cable on which nothing is sent by itself.
fn quiet_pair() -> (Space, Space) {
    let (one, two) = (Space::new(), Space::new());
    one.ip("link add el0 type veth peer name el1");
    one.inside(|| {
        for end in ["el0", "el1"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1").unwrap();
        }
    });
    one.ip(&format!("link set el1 netns {}", two.name()));
    two.inside(|| fs::write("/proc/sys/net/ipv6/conf/el1/disable_ipv6", "1").unwrap());
    one.ip("link set el0 up");
    two.ip("link set el1 up");
    (one, two)
}

fn interface(name: &str) -> Interface {
    Interface::by_name(name).unwrap()
}

/// The programs of an endpoint that is somewhere else, in the XDP slot: all they do here is pass.
fn stranger(name: &str) -> Attachment {
    let settings = Settings {
        endpoint: Endpoint { body_len_max: 1_380, ..Endpoint::default() },
        offloads: 0,
        log_bytes: 1 << 16,
        notice_bytes: 1 << 16,
    };
    let (mut kernel, _rings) = Kernel::load(&settings).unwrap();
    kernel.attach_stub(&interface(name)).unwrap()
}

fn is_bare(name: &str) {
    let survey = Survey::of_interface(name, LEN).unwrap();
    let nothing = "attached: XDP nothing; TC ingress nothing; TC egress nothing\n";
    assert_eq!(survey.occupants.to_string(), nothing, "something stayed on {name}");
}

#[test]
fn tc_echoes_and_nothing_reaches_the_wire() {
    if !is_privileged("the self-test") {
        return;
    }
    let (one, _two) = quiet_pair();
    one.inside(|| {
        let el0 = interface("el0");
        for address in [None, Some([10, 77, 0, 1].into()), Some("fd77::1".parse().unwrap())] {
            let proof = super::test(&el0, address, Hook::Tc).unwrap();
            assert_eq!(proof, Proof::Echoed, "{address:?}");
        }
        assert_eq!(transmitted(el0.index).unwrap(), 0, "an answer left");
        is_bare("el0");
    });
}

#[test]
fn generic_xdp_echoes_by_one_frame_to_itself() {
    if !is_privileged("the self-test") {
        return;
    }
    let (one, two) = quiet_pair();
    let mac = one.inside(|| interface("el0").mac.unwrap());
    let tap = two.inside(|| crate::net::testing::sniff("el1"));
    one.inside(|| {
        let el0 = interface("el0");
        for (count, address) in [(1, None), (2, Some("fd77::1".parse().unwrap()))] {
            let proof = super::test(&el0, address, Hook::XdpGeneric).unwrap();
            assert_eq!(proof, Proof::Echoed, "{address:?}");
            assert_eq!(transmitted(el0.index).unwrap(), count);
        }
        is_bare("el0");
    });
    for _ in 0..2 {
        let mut frame = [0; 256];
        tap.recv(&mut frame).expect("the answer that left");
        assert_eq!((&frame[..6], &frame[6..12]), (&mac[..], &mac[..]), "to the interface itself");
    }
}

#[test]
fn native_xdp_of_a_veth_depends_on_its_other_end() {
    if !is_privileged("the self-test") {
        return;
    }
    let (one, _two) = quiet_pair();
    one.inside(|| {
        let proof = super::test(&interface("el0"), None, Hook::XdpNative).unwrap();
        let Proof::Unproven { why } = &proof else { panic!("{proof:?}") };
        assert!(why.contains("another network namespace"), "{why}");
        is_bare("el0");
    });
    let space = Space::new();
    space.ip("link add el0 type veth peer name el1");
    space.ip("link set el0 up");
    space.ip("link set el1 up");
    space.inside(|| {
        let el0 = interface("el0");
        let error = super::test(&el0, None, Hook::XdpNative).unwrap_err();
        assert_eq!(error.obstacle(), Obstacle::NoAnswer);
        assert!(error.to_string().contains("attach an XDP program there"), "{error}");
        is_bare("el0");
        is_bare("el1");

        let _passing = stranger("el1");
        let ipv6 = "fd77::1".parse().unwrap();
        for address in [None, Some(ipv6)] {
            let proof = super::test(&el0, address, Hook::XdpNative).unwrap();
            assert_eq!(proof, Proof::Echoed, "{address:?}");
        }
        is_bare("el0");
    });
}

#[test]
fn native_xdp_of_a_driver_is_seen_by_what_comes_off_the_wire() {
    if !is_privileged("the self-test") {
        return;
    }
    let mut bed = TapBed::build(2, MTU_PLAIN, 1).unwrap();
    let [one, two] = bed.hosts() else { panic!("two hosts") };
    let (name, to) = (one.interface().to_owned(), one.address(false, 9));
    let test = move || super::test(&interface(&name), None, Hook::XdpNative).unwrap();
    let quiet = one.enter(&test).unwrap();
    assert!(matches!(quiet, Proof::Unproven { .. }), "nobody sends: {quiet:?}");
    let socket = two.within(|| UdpSocket::bind(two.address(false, 0)).unwrap()).unwrap();
    let done = AtomicBool::new(false);
    // The switch stays on this thread, the host goes to another.
    let one = one.namespace().name().to_owned();
    let proof = thread::scope(|scope| {
        let tested = scope.spawn(|| {
            let space = fs::File::open(format!("/run/netns/{one}")).unwrap();
            let proof = crate::net::testing::in_namespace(&space, test);
            done.store(true, Ordering::Relaxed);
            proof
        });
        until("the test is over", || {
            socket.send_to(b"anything", to).unwrap();
            bed.switch_mut().pump();
            done.load(Ordering::Relaxed)
        });
        tested.join().unwrap()
    });
    let Proof::Seen { frames } = proof else { panic!("{proof:?}") };
    assert!(frames > 0);
}

#[test]
fn an_interface_that_is_down_does_not_pass() {
    if !is_privileged("the self-test") {
        return;
    }
    let (one, _two) = quiet_pair();
    one.ip("link set el0 down");
    one.inside(|| {
        let report = probe("el0", LEN).unwrap();
        assert_eq!(report.picked, None, "{report}");
        let tc = &report.hooks[0];
        assert!(tc.why.as_deref().unwrap().contains("is the interface up?"), "{report}");
        is_bare("el0");
    });
}

#[test]
fn a_taken_slot_is_told_by_name_and_nobody_is_evicted() {
    if !is_privileged("the self-test") {
        return;
    }
    let (one, _two) = Space::pair();
    one.inside(|| {
        let _owner = stranger("el0");
        let report = probe("el0", LEN).unwrap();
        assert_eq!(report.picked, Some(Hook::Tc), "{report}");
        let bind = |hook: HookChoice| {
            let config = EndpointConfig::new(ClusterId(1), NodeId(1), ([10, 77, 0, 1], 0).into());
            let options = EbpfOptions { hook, log_bytes: 1 << 16, ..EbpfOptions::default() };
            EbpfEndpoint::bind(config, options)
        };
        for hook in [Hook::XdpNative, Hook::XdpGeneric] {
            let error = bind(hook.into()).unwrap_err();
            let TransportError::Unavailable { reason, why, .. } = &error else { panic!("{error}") };
            assert_eq!(*reason, Obstacle::Occupied, "{error}");
            assert!(why.contains("el_pass (id ") && why.contains("use the hook tc"), "{error}");
        }
        let survey = Survey::of_interface("el0", LEN).unwrap();
        assert_eq!(survey.occupants.xdp[0].program.name.as_deref(), Some("el_pass"));
        let endpoint = bind(HookChoice::Auto).unwrap();
        assert_eq!((endpoint.hook(), endpoint.interface()), (Hook::Tc, "el0"));
    });
}
