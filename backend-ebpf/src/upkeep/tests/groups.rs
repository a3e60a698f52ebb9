//! What groups tell the warden of their members.

use super::*;
use crate::privileged::is_privileged;

#[test]
fn members_that_join_later_are_reached_by_the_kernel_too() {
    if !is_privileged("members_that_join_later_are_reached_by_the_kernel_too") {
        return;
    }
    let bed = BridgeBed::build(3, 1_500).expect("the test bed");
    let member = |index: usize| {
        Member::voter(NodeId(index as u64 + 1), bed.hosts()[index].address(false, PORT))
    };
    let of = |incarnation, members: &[usize]| {
        let members = members.iter().map(|&index| member(index));
        Membership::new(Incarnation(incarnation), members, QuorumRule::Majority).expect("members")
    };
    let node = Node::bind(&bed.hosts()[0], 0, &of(1, &[0, 1]), PLAIN);
    // The kernel knows the third host already, so that nothing will be told of it again.
    let third = bed.hosts()[2].ipv4();
    let mac = bed.hosts()[2].mac().map(|byte| format!("{byte:02x}")).join(":");
    let line = format!("neighbour replace {third} lladdr {mac} nud permanent dev eth0");
    ip(bed.hosts()[0].namespace(), &line);
    node.group.reconfigure(of(2, &[0, 1, 2])).expect("a later membership");
    let end = Instant::now() + PATIENCE;
    loop {
        node.group.drive().expect("the endpoint is open");
        if knows(&node, third.into()) {
            break;
        }
        assert!(Instant::now() < end, "the new member's hardware address was never looked up");
        std::thread::sleep(Duration::from_millis(1));
    }
    // A group that comes to have members whom another one knows already.
    let mut config = GroupConfig::new(GroupId(6), of(1, &[0]));
    config.mode = PLAIN.mode;
    let later = node.endpoint.join(config).expect("the group opens");
    later.reconfigure(of(2, &[0, 1, 2])).expect("a later membership");
    while !knows(&node, third.into()) {
        node.group.drive().expect("the endpoint is open");
        assert!(Instant::now() < end, "the later group was never told");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether every group of the node knows the peer's hardware address.
fn knows(node: &Node, peer: std::net::IpAddr) -> bool {
    node.shared().state().places.values().all(|place| place.hops.contains_key(&peer))
}

#[test]
fn what_a_call_takes_in_for_another_group_is_told() {
    if !is_privileged("what_a_call_takes_in_for_another_group_is_told") {
        return;
    }
    let mut load = Load::start(PLAIN);
    load.settle();
    let node = &load.nodes[1];
    let address = load.bed.hosts()[1].address(false, PORT);
    let own =
        Membership::new(Incarnation(1), [Member::voter(NodeId(2), address)], QuorumRule::Majority);
    let other = node.endpoint.join(GroupConfig::new(GroupId(6), own.expect("one member")));
    let other = other.expect("the group opens");
    let stored = node.tick(Tick::Stored);
    let leader = &load.nodes[0];
    let bytes = body(load.sent + 1);
    let sent = leader.group.try_broadcast(BALLOT, &[Frame::single(Slot(load.sent + 1), &bytes)]);
    assert!(matches!(sent, Ok(1)), "{sent:?}");
    load.sent += 1;
    let end = Instant::now() + PATIENCE;
    while load.nodes[1].tick(Tick::Stored) == stored {
        assert!(Instant::now() < end, "the frame never came");
    }
    // Nobody has driven the node since. This call empties the ring, and who waits for the first group's
    // log must not be left to a drive that then finds nothing. (That they are woken, the suite shows.)
    other.try_poll_log(&mut LogBatch::default()).expect("the group is open");
    assert!(!load.nodes[1].shared().is_ripe(), "nothing is left in the rings, nor untold");
    load.finish();
}

struct Bell(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// A notice for which there was no room may have been of any group, and of anything.
#[test]
fn a_lost_notice_has_everybody_look() {
    use std::sync::atomic::Ordering;

    if !is_privileged("a_lost_notice_has_everybody_look") {
        return;
    }
    let mut load = Load::start(PLAIN);
    load.settle();
    let bell = Arc::new(Bell(0.into()));
    let waker = std::task::Waker::from(Arc::clone(&bell));
    let mut cx = std::task::Context::from_waker(&waker);
    let node = &load.nodes[0];
    let later = Slot(load.sent + 1);
    assert!(node.group.poll_quorum(&mut cx, BALLOT, later).is_pending());
    node.group.drive().expect("the endpoint is open");
    assert_eq!(bell.0.load(Ordering::Relaxed), 0, "there is nothing to tell");
    node.shared().kernel.desk.lose_notice();
    node.group.drive().expect("the endpoint is open");
    assert!(bell.0.load(Ordering::Relaxed) > 0, "whoever waits looks for itself");
    assert!(!node.shared().is_ripe(), "once");
    load.finish();
}
