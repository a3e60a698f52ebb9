//! What a frame on its way out says in a few of its bytes. Each broadcast is looked at, so nothing is
//! decoded; that the places are right is tested against the codec.

use electrode_transport::GroupId;
use electrode_transport::wire::{DESTINATION_ALL, FrameKind, HEADER_LEN};

const KIND: usize = 5;
/// Version, kind, sender, flags, cluster, incarnation, group, ballot.
const IDENTITY_LEN: usize = 32;
const GROUP: usize = 20;
const FIRST: usize = 32;
const LAST: usize = 40;
const DESTINATION: usize = 58;

type Head = [u8; HEADER_LEN];

fn word(head: &Head, at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// Which group a frame to everybody is of.
pub(crate) fn group(datagram: &[u8]) -> Option<GroupId> {
    let head = datagram.first_chunk::<HEADER_LEN>()?;
    let group = (word(head, GROUP - 4) >> 32) as u32;
    (head[DESTINATION] == DESTINATION_ALL).then_some(GroupId(group))
}

/// Whether both are accept frames to everybody, of one leadership, and the second begins where the first
/// ends.
pub(crate) fn continues(one: &[u8], next: &[u8]) -> bool {
    let (Some(one), Some(next)) = (one.first_chunk::<HEADER_LEN>(), next.first_chunk()) else {
        return false;
    };
    one[KIND] == FrameKind::Accept as u8
        && one[..IDENTITY_LEN] == next[..IDENTITY_LEN]
        && [one[DESTINATION], next[DESTINATION]] == [DESTINATION_ALL; 2]
        && word(one, LAST).checked_add(1) == Some(word(next, FIRST))
}

#[cfg(test)]
mod tests {
    use electrode_transport::wire::{Header, flags};
    use electrode_transport::{Ballot, ClusterId, Incarnation, MemberIndex, Slot};

    use super::*;

    const ACCEPT: Header = Header {
        kind: FrameKind::Accept,
        sender: MemberIndex(2),
        flags: 0,
        cluster: ClusterId(0x1112_1314_1516_1718),
        incarnation: Incarnation(0x2122_2324),
        group: GroupId(0x3132_3334),
        ballot: Ballot(0x4142_4344_4546_4748),
        first: Slot(0x5152_5354_5556_5758),
        last: Slot(0x5152_5354_5556_575a),
        commit: Slot(6),
        body_len: 0,
        destination: DESTINATION_ALL,
        tag: 0,
    };

    const NEXT: Header = Header {
        first: Slot(ACCEPT.last.0 + 1),
        last: Slot(ACCEPT.last.0 + 9),
        commit: Slot(9),
        ..ACCEPT
    };

    fn bytes(header: &Header) -> Head {
        let mut bytes = [0; HEADER_LEN];
        header.encode(&mut bytes);
        bytes
    }

    #[test]
    fn the_group_is_that_of_a_broadcast() {
        assert_eq!(group(&bytes(&ACCEPT)), Some(ACCEPT.group));
        assert_eq!(group(&bytes(&Header { destination: 3, ..ACCEPT })), None);
        assert_eq!(group(&bytes(&ACCEPT)[..HEADER_LEN - 1]), None);
    }

    #[test]
    fn only_what_follows_in_one_leadership_continues() {
        assert!(continues(&bytes(&ACCEPT), &bytes(&NEXT)));
        let others = [
            Header { kind: FrameKind::Probe, ..NEXT },
            Header { sender: MemberIndex(3), ..NEXT },
            Header { flags: flags::TAGGED, ..NEXT },
            Header { cluster: ClusterId(1), ..NEXT },
            Header { incarnation: Incarnation(1), ..NEXT },
            Header { group: GroupId(1), ..NEXT },
            Header { ballot: Ballot(1), ..NEXT },
            Header { first: Slot(NEXT.first.0 + 1), ..NEXT },
            Header { first: ACCEPT.first, ..NEXT },
            Header { destination: 3, ..NEXT },
        ];
        for other in &others {
            assert!(!continues(&bytes(&ACCEPT), &bytes(other)), "{other:?}");
        }
        let both = |header: Header, next: Header| continues(&bytes(&header), &bytes(&next));
        assert!(!both(
            Header { kind: FrameKind::Probe, ..ACCEPT },
            Header { kind: FrameKind::Probe, ..NEXT }
        ));
        assert!(!both(Header { destination: 3, ..ACCEPT }, Header { destination: 3, ..NEXT }));
        assert!(!continues(&bytes(&ACCEPT), &bytes(&NEXT)[..HEADER_LEN - 1]));
        let end = Header { last: Slot(u64::MAX), ..ACCEPT };
        assert!(!both(end, Header { first: Slot(0), ..NEXT }), "no slot follows the last");
    }
}
