//! What is in a frame's body, and what is in a message.
//!
//! A frame carries a run of log entries without index and term: the index follows from the frame's
//! first slot, and the term is the ballot, because a leader broadcasts only entries that it appended
//! itself, at its own term. Everything else is a raft message in its own encoding.

use electrode_transport::Frame;
use protobuf::Message as _;
use raft::eraftpb::{Entry, EntryType, Message};

/// Type, context length and data length of an entry.
const ENTRY_OVERHEAD: usize = 1 + 2 + 2;

/// The bytes that an entry takes in a frame.
pub(crate) fn entry_len(entry: &Entry) -> usize {
    ENTRY_OVERHEAD + entry.context.len() + entry.data.len()
}

/// The longest command that fits a frame body of `body_len_max` bytes.
pub(crate) const fn command_len_max(body_len_max: usize) -> usize {
    body_len_max.saturating_sub(ENTRY_OVERHEAD)
}

/// Appends one entry to a frame's body.
pub(crate) fn push_entry(body: &mut Vec<u8>, entry: &Entry) {
    body.push(entry.get_entry_type() as u8);
    for field in [&entry.context, &entry.data] {
        let len = u16::try_from(field.len()).expect("no field is longer than a datagram");
        body.extend_from_slice(&len.to_le_bytes());
    }
    body.extend_from_slice(&entry.context);
    body.extend_from_slice(&entry.data);
}

/// The entries of a frame that was accepted at `term`; `None` if the body is not exactly one entry
/// for each of the frame's slots.
pub(crate) fn entries_of(term: u64, frame: &Frame<'_>) -> Option<Vec<Entry>> {
    let mut rest = frame.body;
    let mut entries = Vec::new();
    for index in frame.first.0..=frame.last.0 {
        let kind = match take(&mut rest, 1)?[0] {
            0 => EntryType::EntryNormal,
            1 => EntryType::EntryConfChange,
            2 => EntryType::EntryConfChangeV2,
            _ => return None,
        };
        let context_len = take_len(&mut rest)?;
        let data_len = take_len(&mut rest)?;
        let mut entry = Entry { term, index, ..Entry::default() };
        entry.set_entry_type(kind);
        entry.context = take(&mut rest, context_len)?.to_vec().into();
        entry.data = take(&mut rest, data_len)?.to_vec().into();
        entries.push(entry);
    }
    rest.is_empty().then_some(entries)
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

fn take_len(rest: &mut &[u8]) -> Option<usize> {
    let bytes = take(rest, 2)?.try_into().ok()?;
    Some(usize::from(u16::from_le_bytes(bytes)))
}

/// A raft message's bytes.
pub(crate) fn encode(message: &Message) -> Vec<u8> {
    message.write_to_bytes().expect("a message that raft built has every field it needs")
}

/// The raft message in `bytes`.
pub(crate) fn decode(bytes: &[u8]) -> Option<Message> {
    let mut message = Message::default();
    message.merge_from_bytes(bytes).ok()?;
    Some(message)
}

#[cfg(test)]
mod tests {
    use electrode_transport::Slot;

    use super::*;

    fn entry(index: u64, kind: EntryType, context: &[u8], data: &[u8]) -> Entry {
        let mut entry = Entry { term: 7, index, ..Entry::default() };
        entry.set_entry_type(kind);
        entry.context = context.to_vec().into();
        entry.data = data.to_vec().into();
        entry
    }

    #[test]
    fn entries_come_out_of_a_frame_as_they_went_in() {
        let entries = [
            entry(5, EntryType::EntryNormal, b"", b""),
            entry(6, EntryType::EntryConfChange, b"why", b"change"),
            entry(7, EntryType::EntryConfChangeV2, b"", &[9; 300]),
        ];
        let mut body = Vec::new();
        entries.iter().for_each(|entry| push_entry(&mut body, entry));
        assert_eq!(body.len(), entries.iter().map(entry_len).sum::<usize>());

        let frame = Frame { first: Slot(5), last: Slot(7), body: &body };
        assert_eq!(entries_of(7, &frame).unwrap(), entries);
        for len in 0..body.len() {
            assert!(
                entries_of(7, &Frame { body: &body[..len], ..frame }).is_none(),
                "cut at {len}"
            );
        }
        let longer = [&body[..], &[0]].concat();
        assert!(entries_of(7, &Frame { body: &longer, ..frame }).is_none(), "a byte too many");
    }
}
