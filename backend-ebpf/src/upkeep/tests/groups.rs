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
        let state = node.shared().state();
        if state.places.values().all(|place| place.hops.contains_key(&third.into())) {
            return;
        }
        drop(state);
        assert!(Instant::now() < end, "the new member's hardware address was never looked up");
        std::thread::sleep(Duration::from_millis(1));
    }
}
