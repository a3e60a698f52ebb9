//! Many groups on an endpoint, and members at IPv6 addresses.

use electrode_transport::{AckMode, Ballot, GroupId, LogBatch, Slot};

use super::MODES;
use crate::case::Stage;
use crate::harness::SetupError;
use crate::spec::{ClusterSpec, Roster, node_id};

cases! { Contract, "contract";
    "64-groups", ManyGroups, [RECEIVED PERSISTED GROUPS TAP], groups_64,
        "64 groups on three endpoints, with different leaders, do not mix.";
    "groups-are-independent", ManyGroups, [RECEIVED GROUPS], independent,
        "Fencing, closing and lapsing one group leaves the others on the endpoint as they are.";
    "ipv6", Core, [RECEIVED PERSISTED IPV6], ipv6,
        "Members at IPv6 addresses work as those at IPv4.";
    "growing-and-shrinking", Quorum, [RECEIVED PERSISTED], growing,
        "A group grows through a joint phase and shrinks again while its leader goes on.";
}

fn groups_64(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let groups: Vec<_> = (1..=64).map(GroupId).collect();
        let spec = ClusterSpec { groups: groups.clone(), ..ClusterSpec::voters(3, mode) };
        let mut lab = stage.lab(&spec)?;
        let leader = |group: GroupId| group.0 as usize % 3;
        let ballot = |group: GroupId| u64::from(group.0 % 5 + 1);
        for &group in &groups {
            lab.group = group;
            lab.elect(leader(group), ballot(group), 1);
        }
        for round in 1..=4 {
            for &group in &groups {
                lab.group = group;
                lab.propose(leader(group), ballot(group), round..=round);
            }
        }
        for &group in &groups {
            lab.group = group;
            lab.until_all(leader(group), ballot(group), 4);
            lab.until_quorum(leader(group), ballot(group), 4);
        }
        lab.check();
    }
    Ok(())
}

fn independent(stage: &Stage<'_>) -> Result<(), SetupError> {
    let groups = vec![GroupId(1), GroupId(2), GroupId(3)];
    let spec = ClusterSpec { groups, ..ClusterSpec::voters(3, AckMode::Received) };
    let mut lab = stage.lab(&spec)?;
    for group in 1..=3 {
        lab.group = GroupId(group);
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=2);
        lab.until_all(0, 1, 2);
    }
    lab.group = GroupId(1);
    lab.raise(1, 8);
    lab.group = GroupId(2);
    lab.node(1).close();
    lab.group = GroupId(3);
    lab.propose(0, 1, 3..=6);
    lab.until_all(0, 1, 6);
    let mut batch = LogBatch::default();
    lab.node(1).try_poll_log(&mut batch)?;
    assert_eq!(batch.status().ballot, Ballot(1), "group 3 still follows ballot 1");
    Ok(())
}

fn ipv6(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec { ipv6: true, ..ClusterSpec::voters(3, mode) })?;
        assert!(lab.membership(0, &lab.roster(0)).members().iter().all(|m| m.address.is_ipv6()));
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=10);
        lab.until_all(0, 1, 10);
        lab.until_quorum(0, 1, 10);
        lab.node(2).try_send(node_id(1), b"over IPv6")?;
        let mut body = Vec::new();
        lab.until("a message arrives", |lab| {
            lab.node(1).try_recv(&mut body).expect("the group is open").is_some()
        });
        lab.check();
    }
    Ok(())
}

fn growing(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let roster = Roster { learners: vec![3, 4], ..Roster::voters(3) };
        let spec = ClusterSpec { nodes: 5, roster: roster.clone(), ..ClusterSpec::voters(5, mode) };
        let mut lab = stage.lab(&spec)?;
        lab.elect(0, 1, 1);
        lab.propose(0, 1, 1..=5);
        lab.until_all(0, 1, 5);
        let joint = Roster { joint: Some(vec![0, 1, 2]), ..roster.next(&[0, 1, 2, 3, 4]) };
        let joint = Roster { learners: Vec::new(), ..joint };
        let grown = joint.next(&[0, 1, 2, 3, 4]);
        let shrunk = grown.next(&[0, 3, 4]);
        let mut slot = 5;
        for next in [&joint, &grown, &shrunk] {
            // Frames under way at the change are repaired under the new membership.
            lab.propose(0, 1, slot + 1..=slot + 3);
            slot += 3;
            for node in next.members() {
                lab.reconfigure(node, next);
            }
            lab.propose(0, 1, slot + 1..=slot + 2);
            slot += 2;
            lab.until_all(0, 1, slot);
            lab.until_quorum(0, 1, slot);
            assert!(lab.node(0).acked(Ballot(1))?.sent == Slot(slot));
        }
        assert_eq!(lab.node(0).membership()?.count(), 3);
        lab.check();
    }
    Ok(())
}
