//! The inbox: order, bound, and buffers that go round.

use super::*;

#[test]
fn messages_come_out_in_order_and_none_above_the_bound() {
    let mut inbox = Inbox::new(3);
    for number in 1..=3 {
        assert!(inbox.push(NodeId(number), &[number as u8; 2]));
    }
    assert!(!inbox.push(NodeId(4), b"too many"));
    let mut body = b"left over".to_vec();
    assert_eq!(inbox.pop(&mut body), Some(NodeId(1)));
    assert_eq!(body, [1, 1], "the body is replaced, not added to");
    assert!(inbox.push(NodeId(5), b""));
    for (from, expected) in [(2, &[2, 2][..]), (3, &[3, 3]), (5, &[])] {
        assert_eq!(inbox.pop(&mut body), Some(NodeId(from)));
        assert_eq!(body, expected);
    }
    assert_eq!(inbox.pop(&mut body), None);
}

#[test]
fn the_readers_buffer_carries_the_next_message() {
    let mut inbox = Inbox::new(4);
    let mut body = Vec::with_capacity(500);
    body.extend_from_slice(b"old");
    let place = body.as_ptr();
    assert!(inbox.push(NodeId(1), b"one"));
    assert_eq!(inbox.pop(&mut body), Some(NodeId(1)));
    assert!(inbox.push(NodeId(2), b"two"));
    assert_eq!(inbox.pop(&mut body), Some(NodeId(2)));
    assert_eq!((body.as_ptr(), &body[..]), (place, &b"two"[..]));
}

#[test]
fn few_buffers_are_kept_after_a_flood() {
    let mut inbox = Inbox::new(1_000);
    for number in 0..1_000 {
        assert!(inbox.push(NodeId(number), b"flood"));
    }
    for _ in 0..1_000 {
        assert!(inbox.pop(&mut Vec::new()).is_some());
    }
    assert_eq!(inbox.spare.len(), SPARE_MAX);
}
