//! The window: what it keeps, what it lets go, and what it finds.

use proptest::prelude::*;

use super::*;

fn frame(first: u64, last: u64, body: &[u8]) -> Frame<'_> {
    Frame { first: Slot(first), last: Slot(last), body }
}

fn push(window: &mut Window, first: u64, last: u64, body: &[u8], quorum: u64) -> bool {
    window.push(&frame(first, last, body), Time(first), Slot(quorum))
}

#[test]
fn full_of_frames_without_a_quorum_it_takes_no_more() {
    let mut window = Window::new(2, 1_000);
    assert!(push(&mut window, 1, 2, b"a", 0));
    assert!(push(&mut window, 3, 3, b"b", 0));
    assert!(!push(&mut window, 4, 4, b"c", 0));
    assert!(!push(&mut window, 4, 4, b"c", 1), "half of the oldest frame is not all of it");
    assert_eq!(window.start(), Some(Slot(1)), "a refused frame pushes nothing out");
    assert!(push(&mut window, 4, 4, b"c", 2));
    assert_eq!(window.start(), Some(Slot(3)));
}

#[test]
fn bytes_are_a_bound_of_their_own() {
    let mut window = Window::new(100, 10);
    assert!(push(&mut window, 1, 1, &[0; 6], 0));
    assert!(!push(&mut window, 2, 2, &[0; 5], 0));
    assert!(push(&mut window, 2, 2, &[0; 4], 0));
    assert!(!push(&mut window, 3, 3, &[0; 1], 0));
    assert!(push(&mut window, 3, 3, &[], 0), "an empty body always fits the bytes");
    assert!(
        push(&mut window, 4, 4, &[0; 10], 3),
        "room is made by as many as it takes, and no more"
    );
    assert_eq!((window.start(), window.bytes), (Some(Slot(3)), 10));
}

#[test]
fn frames_are_found_by_any_slot_in_them() {
    let mut window = Window::new(10, 1_000);
    assert!(push(&mut window, 5, 9, b"a", 0));
    assert!(push(&mut window, 10, 10, b"b", 0));
    for (slot, place) in [(4, None), (5, Some(0)), (9, Some(0)), (10, Some(1)), (11, None)] {
        assert_eq!(window.find(Slot(slot)), place, "slot {slot}");
    }
    window.release(Slot(8));
    assert_eq!(window.start(), Some(Slot(5)), "a frame is released as a whole");
    window.release(Slot(9));
    assert_eq!(window.start(), Some(Slot(10)));
    assert_eq!(window.find(Slot(9)), None);
    let kept = window.get(0).unwrap();
    assert_eq!((kept.sent_at, kept.resent, &kept.body[..]), (Time(10), false, &b"b"[..]));
    window.get_mut(0).unwrap().resent = true;
    assert!(window.get(0).unwrap().resent);
    assert!(window.get(1).is_none());
}

proptest! {
    /// Only frames that a quorum has stored ever leave to make room; the sums stay right.
    #[test]
    fn nothing_without_a_quorum_is_dropped(
        frames_max in 1..6usize,
        steps in proptest::collection::vec((0..4u64, 0..40usize, 0..3u64), 1..200),
    ) {
        let mut window = Window::new(frames_max, 100);
        let (mut sent, mut quorum) = (0, 0);
        for (more, len, ahead) in steps {
            quorum = sent.min(quorum + ahead);
            let before = window.start();
            let taken = push(&mut window, sent + 1, sent + 1 + more, &vec![1; len], quorum);
            if taken {
                sent += 1 + more;
                prop_assert_eq!(window.find(Slot(sent)), Some(window.frames.len() - 1));
            } else {
                prop_assert!(window.frames.front().unwrap().last > Slot(quorum));
            }
            if let (Some(before), Some(after)) = (before, window.start()) {
                prop_assert!(after == before || after.prev() <= Slot(quorum));
            }
            prop_assert!(window.frames.len() <= frames_max && window.bytes <= 100);
            let bytes: usize = window.frames.iter().map(|kept| kept.body.len()).sum();
            prop_assert_eq!(window.bytes, bytes);
            prop_assert!(window.spare.len() <= frames_max, "recycled buffers are bounded too");
        }
    }
}
