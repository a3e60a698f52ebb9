//! The programs on real interfaces: hosts on a bridge, and nothing in user space but a leader that
//! sends and looks at its board.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use electrode_conformance::testbed::{BridgeBed, Host};
use electrode_ebpf_abi::{Endpoint, Tick, offload};
use electrode_transport::engine::{Keeper, Leading, TallyView};
use electrode_transport::rules::Gate;
use electrode_transport::wire::{DESTINATION_ALL, FrameKind, HEADER_LEN, Header, Key, tag_frame};
use electrode_transport::{
    AckMode, Ballot, ClusterId, GroupConfig, GroupId, Incarnation, LogBatch, Member, MemberIndex,
    Membership, NodeId, QuorumRule, Slot, Time,
};

use crate::attach::Attachment;
use crate::hook::Hook;
use crate::keeper::KernelKeeper;
use crate::kernel::{Kernel, Settings};
use crate::net::Interface;
use crate::place::octets;
use crate::privileged::is_privileged;
use crate::shared::{Shared, attached};

const PORT: u16 = 7_400;
const KEY: Key = Key(*b"sixteen bytes ok");
const BALLOT: Ballot = Ballot(3);

/// How a run is set up.
#[derive(Clone, Copy, Debug)]
struct Setup {
    hook: Hook,
    ipv6: bool,
    members: usize,
    keyed: bool,
}

/// One host with the programs in place, its group open.
struct Node {
    keeper: KernelKeeper,
    shared: Arc<Shared>,
    socket: UdpSocket,
    _attachments: Vec<Attachment>,
}

fn membership(bed: &BridgeBed, setup: Setup) -> Membership {
    let member = |(index, host): (usize, &Host)| {
        Member::voter(NodeId(index as u64 + 1), host.address(setup.ipv6, PORT))
    };
    let hosts = bed.hosts().iter().take(setup.members);
    Membership::new(Incarnation(1), hosts.enumerate().map(member), QuorumRule::Majority)
        .expect("a fine membership")
}

fn settings(address: SocketAddr, keyed: bool) -> Settings {
    Settings {
        endpoint: Endpoint {
            address: octets(address.ip()),
            key: if keyed { KEY.0 } else { [0; 16] },
            body_len_max: 1_380,
            port: address.port().to_be_bytes(),
            ipv6: address.is_ipv6().into(),
            keyed: keyed.into(),
        },
        offloads: offload::ALL,
        log_bytes: 1 << 20,
        notice_bytes: 1 << 16,
    }
}

impl Node {
    fn start(bed: &BridgeBed, index: usize, setup: Setup) -> Self {
        let host = &bed.hosts()[index];
        let membership = membership(bed, setup);
        let address = host.address(setup.ipv6, PORT);
        host.within(|| {
            let socket = UdpSocket::bind(address).expect("the port is free");
            let (mut kernel, rings) =
                Kernel::load(&settings(address, setup.keyed)).expect("the programs load");
            let interface = Interface::of_address(address.ip()).expect("the host's interface");
            let attachments = vec![
                kernel.attach_ingress(&interface, setup.hook).expect("the ingress program"),
                kernel.attach_egress(&interface).expect("the egress program"),
            ];
            let shared = Arc::new(Shared::new(kernel, rings).expect("a descriptor"));
            shared.mark(attached::INGRESS | attached::EGRESS);
            let mut config = GroupConfig::new(GroupId(5), membership.clone());
            config.mode = AckMode::Received;
            let gate = Gate {
                cluster: ClusterId(9),
                incarnation: Incarnation(1),
                own: MemberIndex(index as u8),
                members: membership.count(),
                keyed: setup.keyed.into(),
                reserved: 0,
            };
            let keeper = KernelKeeper::open(&shared, &config, gate, |place| {
                for host in bed.hosts() {
                    place.hops.insert(host.address(setup.ipv6, PORT).ip(), host.mac());
                }
            })
            .expect("the group opens");
            socket.set_nonblocking(true).expect("a socket");
            Self { keeper, shared, socket, _attachments: attachments }
        })
        .expect("the namespace")
    }

    fn follow(&mut self) {
        assert!(self.keeper.raise_fence(BALLOT), "a first fence");
        self.keeper.renew(Time(u64::MAX));
        let armed = self.keeper.arm(BALLOT, MemberIndex(0), Slot(1), Time(1));
        armed.expect("a first leader");
    }

    fn lead(&mut self, membership: &Membership) {
        assert!(self.keeper.raise_fence(BALLOT), "a first fence");
        self.keeper.lead(&Leading {
            ballot: BALLOT,
            sent: Slot::ZERO,
            voters: membership.voters(),
            members: membership.count(),
            own: MemberIndex(0),
        });
    }

    fn quorum(&self) -> u64 {
        self.keeper.tally().quorum().0
    }

    fn tick(&self, tick: Tick) -> u64 {
        self.shared.kernel.ticks().expect("the counters")[tick as usize]
    }
}

fn frame(slot: u64, body: &[u8], keyed: bool) -> Vec<u8> {
    let mut header = Header {
        kind: FrameKind::Accept,
        sender: MemberIndex(0),
        flags: u8::from(keyed),
        cluster: ClusterId(9),
        incarnation: Incarnation(1),
        group: GroupId(5),
        ballot: BALLOT,
        first: Slot(slot),
        last: Slot(slot),
        commit: Slot(slot - 1),
        body_len: body.len() as u16,
        destination: DESTINATION_ALL,
        tag: 0,
    };
    let mut head = [0; HEADER_LEN];
    header.encode(&mut head);
    if keyed {
        header.tag = tag_frame(&KEY, &head, body);
        header.encode(&mut head);
    }
    [&head, body].concat()
}

fn body(slot: u64) -> Vec<u8> {
    (0..slot * 37 % 1_380).map(|index| (index ^ slot) as u8).collect()
}

/// On veth a frame sent back by a driver-mode program needs a program at the other end.
fn stubs(bed: &BridgeBed) -> Vec<Attachment> {
    let any = SocketAddr::from(([127, 0, 0, 1], PORT));
    bed.peers()
        .map(|(switch, peer)| {
            switch
                .within(|| {
                    let (mut kernel, _rings) =
                        Kernel::load(&settings(any, false)).expect("the programs load");
                    let interface = Interface::by_name(&peer).expect("the peer end");
                    kernel.attach_stub(&interface).expect("the stub")
                })
                .expect("the namespace")
        })
        .collect()
}

/// Frames go out one at a time: every member's kernel stores and answers, the leader's counts.
fn run(bed: &BridgeBed, setup: Setup, frames: u64) {
    let membership = membership(bed, setup);
    let mut nodes: Vec<Node> =
        (0..setup.members).map(|index| Node::start(bed, index, setup)).collect();
    let (leader, followers) = nodes.split_first_mut().expect("members");
    leader.lead(&membership);
    followers.iter_mut().for_each(Node::follow);
    let carrier = bed.hosts()[1].address(setup.ipv6, PORT);
    for slot in 1..=frames {
        leader.keeper.sending(Slot(slot), true);
        let bytes = frame(slot, &body(slot), setup.keyed);
        leader.socket.send_to(&bytes, carrier).expect("sent");
        let end = Instant::now() + Duration::from_secs(2);
        while leader.quorum() < slot {
            assert!(
                Instant::now() < end,
                "{setup:?}: slot {slot} has no quorum: {:?}",
                ticks(leader)
            );
        }
    }
    let end = Instant::now() + Duration::from_secs(2);
    let acked = |leader: &Node, index| leader.keeper.tally().acked(MemberIndex(index)).0;
    while (1..setup.members as u8).any(|index| acked(leader, index) < frames) {
        assert!(Instant::now() < end, "{setup:?}: a member is behind: {:?}", ticks(leader));
    }
    for follower in followers.iter_mut() {
        check_log(setup, follower, frames);
    }
    assert_eq!(leader.tick(Tick::Copies), frames * (setup.members as u64 - 2), "{setup:?}");
    let mut nothing = [0; 2_048];
    assert!(leader.socket.recv(&mut nothing).is_err(), "no acknowledgement went up the stack");
}

fn check_log(setup: Setup, follower: &mut Node, frames: u64) {
    let mut batch = LogBatch::with_limits(usize::MAX, usize::MAX);
    follower.keeper.poll(&mut batch);
    let slots: Vec<u64> = batch.iter().map(|entry| entry.first.0).collect();
    assert_eq!(slots, (1..=frames).collect::<Vec<_>>(), "{setup:?}");
    for entry in batch.iter() {
        assert_eq!(entry.body, body(entry.first.0), "{setup:?}");
        assert_eq!((entry.ballot, entry.last), (BALLOT, entry.first), "{setup:?}");
    }
    assert_eq!(follower.tick(Tick::Stored), frames, "{setup:?}: {:?}", ticks(follower));
    let mut nothing = [0; 2_048];
    assert!(follower.socket.recv(&mut nothing).is_err(), "no frame went up the stack");
}

fn ticks(node: &Node) -> Vec<(&'static str, u64)> {
    let counts = node.shared.kernel.ticks().expect("the counters");
    Tick::ALL.iter().map(|tick| tick.name()).zip(counts).filter(|(_, count)| *count != 0).collect()
}

#[test]
fn a_quorum_is_known_without_user_space_on_every_hook() {
    if !is_privileged("the programs on real interfaces") {
        return;
    }
    let bed = BridgeBed::build(5, 1_500).expect("the test bed");
    let _stubs = stubs(&bed);
    for hook in Hook::ALL {
        for (ipv6, members, keyed) in [(false, 3, false), (true, 3, true), (false, 5, true)] {
            run(&bed, Setup { hook, ipv6, members, keyed }, 200);
        }
    }
}

/// How many frames a batch has, and how long the bodies of all but its last are.
const BATCH: u64 = 8;
const LEN: usize = 100;

fn batch_body(slot: u64) -> Vec<u8> {
    vec![slot as u8; if slot == BATCH { LEN / 2 } else { LEN }]
}

/// Followers at a hook, and a leader at TC that sends the batch in one piece.
fn send_batch(bed: &BridgeBed, setup: Setup) -> Vec<Node> {
    let membership = membership(bed, setup);
    let at = |index| if index == 0 { Hook::Tc } else { setup.hook };
    let start = |index| Node::start(bed, index, Setup { hook: at(index), ..setup });
    let mut nodes: Vec<Node> = (0..setup.members).map(start).collect();
    let (leader, followers) = nodes.split_first_mut().expect("members");
    leader.lead(&membership);
    followers.iter_mut().for_each(Node::follow);
    let carrier = bed.hosts()[1].address(setup.ipv6, PORT);
    let len = libc::c_int::try_from(HEADER_LEN + LEN).expect("a short frame");
    // SAFETY: the option's value lives across the call.
    let set = unsafe {
        libc::setsockopt(
            leader.socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const len).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    let frames = (1..=BATCH).map(|slot| frame(slot, &batch_body(slot), setup.keyed));
    let bytes: Vec<u8> = frames.flatten().collect();
    leader.socket.send_to(&bytes, carrier).expect("sent");
    assert_eq!(leader.tick(Tick::Left), BATCH, "{setup:?}");
    assert_eq!(leader.tick(Tick::Copies), BATCH * (setup.members as u64 - 2), "{setup:?}");
    nodes
}

#[test]
fn a_batch_in_one_piece_is_taken_whole_at_tc() {
    if !is_privileged("a batch in one piece") {
        return;
    }
    let bed = BridgeBed::build(5, 1_500).expect("the test bed");
    for (ipv6, members, keyed) in [(false, 3, false), (true, 5, true), (true, 3, false)] {
        let setup = Setup { hook: Hook::Tc, ipv6, members, keyed };
        let mut nodes = send_batch(&bed, setup);
        let (leader, followers) = nodes.split_first_mut().expect("members");
        let acked = |index| leader.keeper.tally().acked(MemberIndex(index)).0;
        let end = Instant::now() + Duration::from_secs(2);
        while (1..setup.members as u8).any(|index| acked(index) < BATCH) {
            assert!(Instant::now() < end, "{setup:?}: {:?}", ticks(leader));
        }
        assert_eq!(leader.quorum(), BATCH, "{setup:?}");
        let answers = [Tick::AckQuorum, Tick::AckCounted, Tick::AckRepeat];
        let answers: u64 = answers.map(|tick| leader.tick(tick)).iter().sum();
        assert_eq!(answers, followers.len() as u64, "{setup:?}: one answer each");
        for follower in followers {
            let mut batch = LogBatch::with_limits(usize::MAX, usize::MAX);
            follower.keeper.poll(&mut batch);
            let found: Vec<_> = batch.iter().map(|it| (it.first.0, it.body.to_vec())).collect();
            let sent: Vec<_> = (1..=BATCH).map(|slot| (slot, batch_body(slot))).collect();
            assert_eq!(found, sent, "{setup:?}");
            assert_eq!(follower.tick(Tick::Stored), BATCH, "{setup:?}");
            let mut nothing = [0; 2_048];
            assert!(follower.socket.recv(&mut nothing).is_err(), "it went up the stack too");
        }
    }
}

/// It comes there before it is cut, and longer than any frame. User space gets the frames.
#[test]
fn a_batch_in_one_piece_goes_up_the_stack_at_generic_xdp() {
    if !is_privileged("a batch in one piece") {
        return;
    }
    let bed = BridgeBed::build(3, 1_500).expect("the test bed");
    let setup = Setup { hook: Hook::XdpGeneric, ipv6: false, members: 3, keyed: false };
    let nodes = send_batch(&bed, setup);
    for follower in &nodes[1..] {
        let end = Instant::now() + Duration::from_secs(2);
        let mut buffer = [0; 2_048];
        for slot in 1..=BATCH {
            let received = loop {
                match follower.socket.recv(&mut buffer) {
                    Ok(len) => break &buffer[..len],
                    Err(error) => assert!(Instant::now() < end, "slot {slot}: {error}"),
                }
            };
            assert_eq!(received, frame(slot, &batch_body(slot), false));
        }
        let counts = [Tick::PassMalformed, Tick::Stored].map(|tick| follower.tick(tick));
        assert_eq!(counts, [1, 0], "{:?}", ticks(follower));
    }
}
