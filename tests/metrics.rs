//! The counters as a recorder gets them.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![cfg(all(feature = "metrics", feature = "socket"))]

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use electrode::{Choice, ClusterId, Counter, Endpoint, EndpointConfig, NodeId, Options};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

/// One publication: each series by its name and labels, as Prometheus would write them.
fn published(endpoint: &Endpoint) -> BTreeMap<String, u64> {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        electrode::metrics::describe();
        electrode::metrics::publish(endpoint);
    });
    let mut series = BTreeMap::new();
    for (key, _unit, description, value) in snapshots.snapshot().into_vec() {
        let (_, key) = key.into_parts();
        let labels: Vec<_> =
            key.labels().map(|it| format!("{}=\"{}\"", it.key(), it.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        assert!(description.is_some(), "{name} is not described");
        let value = match value {
            DebugValue::Counter(value) => value,
            DebugValue::Gauge(value) => value.0 as u64,
            DebugValue::Histogram(_) => panic!("{name}"),
        };
        assert_eq!(series.insert(name, value), None, "published twice");
    }
    series
}

fn options(address: SocketAddr) -> Options {
    Options::new(EndpointConfig::new(ClusterId(1), NodeId(7), address))
}

#[test]
fn every_counter_is_published_under_its_name() {
    let options = options(([127, 0, 0, 1], 0).into()).with_backend(Choice::Socket);
    let endpoint = electrode::open(options).unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..3 {
        stranger.send_to(b"noise", endpoint.local_addr()).unwrap();
    }
    while endpoint.stats().received() < 3 {
        endpoint.wait(Duration::from_secs(5)).unwrap();
    }
    let series = published(&endpoint);
    let labels = "node=\"7\",backend=\"socket\"";
    let count = |name: &str, more: &str| series[&format!("{name}{{{labels}{more}}}")];
    assert_eq!(count("electrode_datagrams_received_total", ",result=\"truncated\""), 3);
    assert_eq!(count("electrode_datagrams_received_total", ",result=\"stored\""), 0);
    assert!(count("electrode_syscalls_total", ",operation=\"receive\"") > 0);
    assert_eq!(count("electrode_fallbacks_total", ""), 0);
    assert_eq!(count("electrode_backend_info", ",fallback=\"none\""), 1);
    let of_stats = series.len() - 1;
    assert_eq!(of_stats, Counter::ALL.len(), "none is left out, none falls on another");
}

#[cfg(all(feature = "ebpf", target_os = "linux"))]
mod ebpf {
    use electrode_conformance::testbed::BridgeBed;

    use super::*;
    use crate::privileged::is_privileged;

    #[test]
    fn a_fall_back_is_published_with_its_reason() {
        let endpoint = electrode::open(options(([127, 0, 0, 1], 0).into())).unwrap();
        let series = published(&endpoint);
        let labels = "node=\"7\",backend=\"socket\"";
        assert_eq!(series[&format!("electrode_fallbacks_total{{{labels}}}")], 1);
        let info = format!("electrode_backend_info{{{labels},fallback=\"interface\"}}");
        assert_eq!(series[&info], 1);
    }

    /// Counted by the kernel's own counters of the interface, whatever arrives: ours, other people's,
    /// what is no datagram at all.
    #[test]
    fn verdicts_add_up_to_what_arrived_at_the_interface() {
        if !is_privileged("the programs' counters") {
            return;
        }
        let bed = BridgeBed::build(2, 1_500).unwrap();
        let [one, two] = bed.hosts() else { panic!("two hosts") };
        let arrived = || {
            let table = one.command("cat").unwrap().arg("/proc/net/dev").output().unwrap();
            let table = String::from_utf8(table.stdout).unwrap();
            let line = table.lines().find(|line| line.contains(one.interface())).unwrap();
            line.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()
        };
        let mut options = options(one.address(false, 7_400)).with_backend(Choice::Ebpf);
        options.ebpf.hook = electrode::Hook::Tc.into();
        // Between these two nothing may arrive: the bed is quiet but for neighbour discovery.
        let (endpoint, before) = loop {
            let before = arrived();
            let endpoint = one.within(|| electrode::open(options.clone()).unwrap()).unwrap();
            if arrived() == before {
                break (endpoint, before);
            }
        };
        let socket = two.within(|| UdpSocket::bind(two.address(false, 0)).unwrap()).unwrap();
        for port in [7_400, 7_401, 7_400, 9] {
            for _ in 0..50 {
                socket.send_to(b"noise", one.address(false, port)).unwrap();
            }
        }
        let over_ipv6 = two.within(|| UdpSocket::bind(two.address(true, 0)).unwrap()).unwrap();
        for _ in 0..5 {
            over_ipv6.send_to(b"noise", one.address(true, 7_400)).unwrap();
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let ticks = loop {
            let ticks = endpoint.ticks().unwrap();
            let same = ticks.seen() == arrived() - before && Some(ticks) == endpoint.ticks();
            if same {
                break ticks;
            }
            assert!(std::time::Instant::now() < deadline, "{ticks:?}, {}", arrived() - before);
        };
        assert!(ticks.seen() >= 205, "{ticks:?}");
        let verdicts: BTreeMap<_, _> = ticks.verdicts().collect();
        assert_eq!(verdicts.values().sum::<u64>(), ticks.seen(), "{ticks:?}");
        assert_eq!(verdicts["pass_malformed"], 100, "{ticks:?}");
        assert!(verdicts["pass_bystander"] >= 105, "{ticks:?}");

        let series = published(&endpoint);
        let of = |name: &str| {
            let of: Vec<_> =
                series.iter().filter(|(key, _)| key.starts_with(&format!("{name}{{"))).collect();
            (of.len(), of.iter().map(|(_, count)| **count).sum::<u64>())
        };
        let (kinds, sum) = of("electrode_ebpf_packets_total");
        assert_eq!((kinds, sum), (verdicts.len(), of("electrode_ebpf_packets_seen_total").1));
        assert_eq!(of("electrode_ebpf_events_total").0, ticks.events().count());
    }
}

#[cfg(all(feature = "ebpf", target_os = "linux"))]
mod privileged;
