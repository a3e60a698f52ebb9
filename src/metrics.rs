//! An endpoint's counters through the crate [`metrics`], whatever recorder the program has installed:
//! Prometheus, statsd, OpenTelemetry.
//!
//! Call [`describe`] once and [`publish`] whenever figures are wanted, say every few seconds or before
//! each scrape: nothing is published by itself, and the fast path knows nothing of it.
//!
//! ```
//! # #[cfg(feature = "socket")]
//! # fn main() -> electrode::Result<()> {
//! # use electrode::{ClusterId, EndpointConfig, NodeId, Options};
//! # let bind = "127.0.0.1:0".parse().expect("an address");
//! # let endpoint = electrode::open(Options::new(EndpointConfig::new(ClusterId(1), NodeId(1), bind)))?;
//! electrode::metrics::describe();
//! electrode::metrics::publish(&endpoint);
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "socket"))]
//! # fn main() {}
//! ```
//!
//! Every series has the labels `node` and `backend`; some have one more. All but the last are counters
//! since the endpoint was opened.
//!
//! | name | label | what |
//! |---|---|---|
//! | `electrode_datagrams_received_total` | `result` | what arrived for the endpoint, each datagram once: `stored`, `ack_quorum`, `stale_ballot` ... |
//! | `electrode_datagrams_sent_total` | | handed to the network |
//! | `electrode_retransmits_total` | | of those, accept frames sent again |
//! | `electrode_send_errors_total` | | refused by the system for good |
//! | `electrode_replies_dropped_total` | | replies for which there was no room |
//! | `electrode_backpressure_total` | | broadcasts turned away by a full window |
//! | `electrode_syscalls_total` | `operation` | system calls that `send` or `receive` |
//! | `electrode_fallbacks_total` | | opened on sockets although the kernel was wanted |
//! | `electrode_offload_lost_total` | | a program was found to be in its place no longer |
//! | `electrode_offload_regained_total` | | and was put back |
//! | `electrode_ebpf_packets_total` | `verdict` | what arrived at the interface, other traffic too, each packet once: `stored`, `pass_bystander` ... |
//! | `electrode_ebpf_packets_seen_total` | | the sum of those, counted apart |
//! | `electrode_ebpf_events_total` | `event` | `left`, `copies`, `copy_failed`, `reply_failed`, `notice_lost` |
//! | `electrode_backend_info` | `fallback` | a gauge, always 1: `none`, or [`Obstacle::name`](crate::Obstacle::name) of why the kernel could not be had |
//!
//! The `result`s and `event`s are the names of [`Counter`] and of the kernel programs' counters; a later
//! version may have more of them.

use electrode_transport::{Counter, NodeId, Stats};
use metrics::{Label, counter, describe_counter, describe_gauge, gauge};

use crate::open::Endpoint;

const RECEIVED: &str = "electrode_datagrams_received_total";
const SENT: &str = "electrode_datagrams_sent_total";
const RETRANSMITS: &str = "electrode_retransmits_total";
const SEND_ERRORS: &str = "electrode_send_errors_total";
const REPLIES_DROPPED: &str = "electrode_replies_dropped_total";
const BACKPRESSURE: &str = "electrode_backpressure_total";
const SYSCALLS: &str = "electrode_syscalls_total";
const FALLBACKS: &str = "electrode_fallbacks_total";
const OFFLOAD_LOST: &str = "electrode_offload_lost_total";
const OFFLOAD_REGAINED: &str = "electrode_offload_regained_total";
const PACKETS: &str = "electrode_ebpf_packets_total";
const PACKETS_SEEN: &str = "electrode_ebpf_packets_seen_total";
const EVENTS: &str = "electrode_ebpf_events_total";
const INFO: &str = "electrode_backend_info";

/// Tells the recorder what each series means.
pub fn describe() {
    for (name, text) in [
        (RECEIVED, "Datagrams received, by what became of them."),
        (SENT, "Datagrams handed to the network."),
        (RETRANSMITS, "Accept frames sent again."),
        (SEND_ERRORS, "Datagrams that the system refused for good."),
        (REPLIES_DROPPED, "Replies dropped because the way out was full."),
        (BACKPRESSURE, "Broadcasts turned away by a full window."),
        (SYSCALLS, "System calls that sent or received."),
        (FALLBACKS, "Whether the endpoint runs on sockets although the kernel was wanted."),
        (OFFLOAD_LOST, "Times that a program was found to be in its place no longer."),
        (OFFLOAD_REGAINED, "Times that a program was put back in its place."),
        (PACKETS, "Packets that the ingress program saw, by verdict."),
        (PACKETS_SEEN, "Packets that the ingress program saw."),
        (EVENTS, "What the kernel programs did beside judging packets."),
    ] {
        describe_counter!(name, text);
    }
    describe_gauge!(INFO, "The backend that runs, and why no other.");
}

/// Publishes the endpoint's counters as they stand. Cheap enough for once a second, not for the fast
/// path: it takes the endpoint's lock for a moment and reads the kernel's counters by a system call.
pub fn publish(endpoint: &Endpoint) {
    let selected = endpoint.backend();
    let labels = Labels { node: endpoint.node(), backend: selected.name };
    let fallback = selected.fallback.as_ref().map_or("none", |fallback| fallback.reason.name());
    gauge!(INFO, labels.with("fallback", fallback)).set(1.0);
    publish_stats(&endpoint.stats(), labels);
    #[cfg(all(feature = "ebpf", target_os = "linux"))]
    if let Some(ticks) = endpoint.ticks() {
        counter!(PACKETS_SEEN, labels.plain()).absolute(ticks.seen());
        for (verdict, count) in ticks.verdicts() {
            counter!(PACKETS, labels.with("verdict", verdict)).absolute(count);
        }
        for (event, count) in ticks.events() {
            counter!(EVENTS, labels.with("event", event)).absolute(count);
        }
    }
}

#[derive(Clone, Copy)]
struct Labels {
    node: NodeId,
    backend: &'static str,
}

impl Labels {
    fn plain(self) -> Vec<Label> {
        let node = Label::new("node", self.node.0.to_string());
        vec![node, Label::from_static_parts("backend", self.backend)]
    }

    fn with(self, name: &'static str, value: &'static str) -> Vec<Label> {
        let mut labels = self.plain();
        labels.push(Label::from_static_parts(name, value));
        labels
    }
}

fn publish_stats(stats: &Stats, labels: Labels) {
    for (counter, value) in stats.iter() {
        let (name, labels) = match counter {
            Counter::TxDatagrams => (SENT.into(), labels.plain()),
            Counter::TxRetransmits => (RETRANSMITS.into(), labels.plain()),
            Counter::TxErrors => (SEND_ERRORS.into(), labels.plain()),
            Counter::TxRepliesDropped => (REPLIES_DROPPED.into(), labels.plain()),
            Counter::TxBackpressure => (BACKPRESSURE.into(), labels.plain()),
            Counter::SyscallsSend => (SYSCALLS.into(), labels.with("operation", "send")),
            Counter::SyscallsReceive => (SYSCALLS.into(), labels.with("operation", "receive")),
            other => match other.name().strip_prefix("rx_") {
                Some(result) => (RECEIVED.into(), labels.with("result", result)),
                None => (format!("electrode_{}_total", other.name()), labels.plain()),
            },
        };
        counter!(name, labels).absolute(value);
    }
}
