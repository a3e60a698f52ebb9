//! An endpoint that nobody else knows of: the programs, loaded for addresses that exist nowhere, and one
//! group with a made-up leader.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TestRun, TestRunOptions, Xdp};
use electrode_ebpf_abi::{Endpoint, Tick, offload};
use electrode_transport::engine::Keeper;
use electrode_transport::rules::Gate;
use electrode_transport::{
    AckMode, GroupConfig, Incarnation, LogBatch, Member, Membership, NodeId, QuorumRule, Slot,
    Time, TransportError,
};

use super::frame::{self, BALLOT, CLUSTER, GROUP, LEADER, OWN};
use crate::error::EbpfError;
use crate::keeper::KernelKeeper;
use crate::kernel::{IN_XDP, Kernel, Settings};
use crate::place::octets;
use crate::shared::Shared;

const INJECT: &str = "el_inject";
/// How long a frame may take from the interface to the program, or an answer back.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a frame is put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Out of the interface.
    Out,
    /// Into it, as if it had come by the wire.
    In,
}

pub(super) struct Scratch {
    keeper: KernelKeeper,
    shared: Arc<Shared>,
    own: SocketAddr,
    leader: SocketAddr,
}

impl Scratch {
    /// Hands over the programs, to be attached, before the group is opened.
    pub(super) fn load(ipv6: bool) -> Result<(Kernel, impl FnOnce(Kernel) -> Opened), EbpfError> {
        let (own, leader) = addresses(ipv6);
        let settings = Settings {
            endpoint: Endpoint {
                address: octets(own.ip()),
                key: [0; 16],
                body_len_max: frame::BODY.len() as u32,
                port: own.port().to_be_bytes(),
                ipv6: ipv6.into(),
                keyed: 0,
            },
            offloads: offload::ACKNOWLEDGE,
            log_bytes: 1 << 16,
            notice_bytes: 1 << 16,
        };
        let (mut kernel, rings) = Kernel::load(&settings)?;
        kernel.load_tc(INJECT)?;
        let open = move |kernel| open(Arc::new(Shared::new(kernel, rings)?), own, leader);
        Ok((kernel, open))
    }

    /// The frame as it would come by the wire.
    pub(super) fn frame(&self, mac: [u8; 6]) -> Vec<u8> {
        frame::accept(mac, self.leader, self.own)
    }

    /// Puts a frame into an interface of this network namespace, or out of it. The kernel has a
    /// helper for that, which a program run by `BPF_PROG_TEST_RUN` may call.
    pub(super) fn inject(&self, frame: &[u8], index: u32, way: Way) -> Result<(), EbpfError> {
        const BPF_F_INGRESS: u32 = 1;
        // `struct __sk_buff`: the mark is its third word, the interface's index its eleventh.
        let mut context = [0; 11 * 4];
        let flags = if way == Way::In { BPF_F_INGRESS } else { 0 };
        context[2 * 4..3 * 4].copy_from_slice(&flags.to_ne_bytes());
        context[10 * 4..11 * 4].copy_from_slice(&index.to_ne_bytes());
        let program = self.shared.kernel.ebpf.program(INJECT);
        let failed = |source| EbpfError::Command { source: Box::new(source) };
        let program: &SchedClassifier =
            program.ok_or(EbpfError::Foreign { name: INJECT })?.try_into().map_err(failed)?;
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        match program.test_run(options).map_err(failed)?.return_value as i32 {
            0 => Ok(()),
            // `NET_RX_DROP` is positive: the interface is down, or its queue is full.
            refused => Err(EbpfError::Io {
                operation: "put a frame into the interface",
                source: match refused {
                    ..0 => std::io::Error::from_raw_os_error(-refused),
                    _ => std::io::Error::other("the kernel dropped it: is the interface up?"),
                },
            }),
        }
    }

    /// Runs the XDP program on a frame, apart from any interface. Says whether it answered.
    pub(super) fn test_run(&self, frame: &[u8]) -> Result<bool, EbpfError> {
        const XDP_TX: u32 = 3;
        let program = self.shared.kernel.ebpf.program(IN_XDP);
        let failed = |source| EbpfError::Command { source: Box::new(source) };
        let program: &Xdp =
            program.ok_or(EbpfError::Foreign { name: IN_XDP })?.try_into().map_err(failed)?;
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::new() };
        Ok(program.test_run(options).map_err(failed)?.return_value == XDP_TX)
    }

    /// What the programs counted.
    pub(super) fn ticks(&self) -> Result<[u64; Tick::COUNT], EbpfError> {
        self.shared.kernel.ticks()
    }

    /// Waits until the programs have counted one of these. `false` if that does not come about.
    pub(super) fn await_tick(&self, tick: Tick, at_least: u64) -> Result<bool, EbpfError> {
        within(|| Ok(self.ticks()?[tick as usize] >= at_least))
    }

    /// Whether the log holds exactly what was sent.
    pub(super) fn is_stored(&mut self) -> bool {
        let mut batch = LogBatch::default();
        self.keeper.poll(&mut batch);
        let mut entries = batch.iter();
        let first = entries.next().map(|entry| (entry.ballot, entry.first, entry.body));
        first == Some((BALLOT, Slot(1), frame::BODY)) && entries.next().is_none()
    }
}

/// A scratch endpoint, or why there is none.
pub(super) type Opened = Result<Scratch, TransportError>;

/// Waits for a condition, looking every millisecond.
pub(super) fn within(
    mut holds: impl FnMut() -> Result<bool, EbpfError>,
) -> Result<bool, EbpfError> {
    let end = Instant::now() + PATIENCE;
    while !holds()? {
        if Instant::now() > end {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

/// Loopback addresses: should a frame be passed up the stack all the same, the stack drops it as
/// impossible off a wire (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3) and answers nothing. Random ones, so that
/// several self-tests on one interface do not take each other's frames.
fn addresses(ipv6: bool) -> (SocketAddr, SocketAddr) {
    let [a, b, c, d, e, f, ..] = RandomState::new().build_hasher().finish().to_le_bytes();
    let port = 1_024 | u16::from_le_bytes([e, f]);
    let (own, leader) = if ipv6 {
        let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
        let own = Ipv6Addr::new(0xfd65, 0x6c65, 0x6374, 0, 0, 0, word(a, b), word(c, d));
        (IpAddr::from(own), IpAddr::from(Ipv6Addr::LOCALHOST))
    } else {
        let own = Ipv4Addr::new(127, a & 0x7f, b, c);
        (own.into(), Ipv4Addr::new(127, a | 0x80, b, c).into())
    };
    (SocketAddr::new(own, port), SocketAddr::new(leader, port))
}

fn open(shared: Arc<Shared>, own: SocketAddr, leader: SocketAddr) -> Opened {
    let members = [Member::voter(NodeId(1), own), Member::voter(NodeId(2), leader)];
    let membership = Membership::new(Incarnation(1), members, QuorumRule::Majority)?;
    let gate = Gate {
        cluster: CLUSTER,
        incarnation: Incarnation(1),
        own: OWN,
        members: membership.count(),
        keyed: 0,
        reserved: 0,
    };
    let mut config = GroupConfig::new(GROUP, membership);
    config.mode = AckMode::Received;
    config.log_bytes = 1 << 12;
    let mut keeper = KernelKeeper::open(&shared, &config, gate, |_| {})?;
    keeper.raise_fence(BALLOT);
    keeper.renew(Time(u64::MAX));
    keeper
        .arm(BALLOT, LEADER, Slot(1), Time(1))
        .map_err(|_| EbpfError::Foreign { name: "el_control" })?;
    Ok(Scratch { keeper, shared, own, leader })
}
