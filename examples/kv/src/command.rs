//! What clients ask of the store and what it answers, as types and as bytes.
//!
//! A [`Command`] goes through the replicated log and changes something; a [`Query`] does neither.

use crate::codec::{Decoder, Encoder, Malformed};

/// A change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// Sets a key.
    Put { key: Vec<u8>, value: Vec<u8> },
    /// Sets a key if it holds what is expected; `None`: if it is absent.
    Cas { key: Vec<u8>, expected: Option<Vec<u8>>, value: Vec<u8> },
    /// Removes a key.
    Delete { key: Vec<u8> },
}

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Query {
    /// One key.
    Get { key: Vec<u8> },
    /// A page of the keys that begin with `prefix`, in order, those after `after`.
    Scan { prefix: Vec<u8>, after: Option<Vec<u8>>, rows_max: u32 },
    /// The state as a whole.
    Summary,
}

/// A key's value, and how often the key has been written since it was absent.
///
/// The version is what `demo` checks: a write that was lost leaves it too low, a write that was
/// applied twice too high.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stored {
    pub(crate) value: Vec<u8>,
    pub(crate) version: u64,
}

/// One row of a scan.
pub(crate) type Row = (Vec<u8>, Stored);

/// The state as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Summary {
    /// How many keys there are.
    pub(crate) keys: u64,
    /// How many commands have changed something.
    pub(crate) writes: u64,
    /// A hash of every key, value and version: equal states have equal ones.
    pub(crate) digest: u64,
}

/// The answer to either.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// Written; the key's version now.
    Written { version: u64 },
    /// The key holds something else than `cas` expected; nothing was changed.
    Mismatch { found: Option<Vec<u8>> },
    /// Deleted, or there was nothing to delete.
    Deleted { existed: bool },
    /// What a key holds.
    Value(Option<Stored>),
    /// A page of rows, and whether there are more.
    Page { rows: Vec<Row>, more: bool },
    /// The state as a whole.
    Summary(Summary),
    /// The command was not understood; nothing was changed.
    Malformed,
}

impl Command {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Put { key, value } => Encoder::new(1).bytes(key).bytes(value).finish(),
            Self::Cas { key, expected, value } => {
                Encoder::new(2).bytes(key).optional(expected.as_deref()).bytes(value).finish()
            }
            Self::Delete { key } => Encoder::new(3).bytes(key).finish(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let command = match from.u8()? {
            1 => Self::Put { key: from.bytes()?.to_vec(), value: from.bytes()?.to_vec() },
            2 => Self::Cas {
                key: from.bytes()?.to_vec(),
                expected: from.optional()?.map(<[u8]>::to_vec),
                value: from.bytes()?.to_vec(),
            },
            3 => Self::Delete { key: from.bytes()?.to_vec() },
            _ => return Err(Malformed("an unknown command")),
        };
        from.finish()?;
        Ok(command)
    }
}

impl Query {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Get { key } => Encoder::new(1).bytes(key).finish(),
            Self::Scan { prefix, after, rows_max } => {
                Encoder::new(2).bytes(prefix).optional(after.as_deref()).u32(*rows_max).finish()
            }
            Self::Summary => Encoder::new(3).finish(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let query = match from.u8()? {
            1 => Self::Get { key: from.bytes()?.to_vec() },
            2 => Self::Scan {
                prefix: from.bytes()?.to_vec(),
                after: from.optional()?.map(<[u8]>::to_vec),
                rows_max: from.u32()?,
            },
            3 => Self::Summary,
            _ => return Err(Malformed("an unknown query")),
        };
        from.finish()?;
        Ok(query)
    }
}

impl Answer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Written { version } => Encoder::new(1).u64(*version).finish(),
            Self::Mismatch { found } => Encoder::new(2).optional(found.as_deref()).finish(),
            Self::Deleted { existed } => Encoder::new(3).u8(u8::from(*existed)).finish(),
            Self::Value(None) => Encoder::new(4).u8(0).finish(),
            Self::Value(Some(Stored { value, version })) => {
                Encoder::new(4).u8(1).bytes(value).u64(*version).finish()
            }
            Self::Page { rows, more } => {
                let head = Encoder::new(5).u8(u8::from(*more)).u32(rows.len() as u32);
                rows.iter()
                    .fold(head, |page, (key, stored)| {
                        page.bytes(key).bytes(&stored.value).u64(stored.version)
                    })
                    .finish()
            }
            Self::Summary(Summary { keys, writes, digest }) => {
                Encoder::new(6).u64(*keys).u64(*writes).u64(*digest).finish()
            }
            Self::Malformed => Encoder::new(7).finish(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Decoder::new(bytes);
        let answer = match from.u8()? {
            1 => Self::Written { version: from.u64()? },
            2 => Self::Mismatch { found: from.optional()?.map(<[u8]>::to_vec) },
            3 => Self::Deleted { existed: from.flag()? },
            4 => Self::Value(if from.flag()? { Some(stored(&mut from)?) } else { None }),
            5 => {
                let more = from.flag()?;
                let count = from.u32()?;
                let mut rows = Vec::new();
                for _ in 0..count {
                    rows.push((from.bytes()?.to_vec(), stored(&mut from)?));
                }
                Self::Page { rows, more }
            }
            6 => Self::Summary(Summary {
                keys: from.u64()?,
                writes: from.u64()?,
                digest: from.u64()?,
            }),
            7 => Self::Malformed,
            _ => return Err(Malformed("an unknown answer")),
        };
        from.finish()?;
        Ok(answer)
    }
}

fn stored(from: &mut Decoder<'_>) -> Result<Stored, Malformed> {
    Ok(Stored { value: from.bytes()?.to_vec(), version: from.u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    #[test]
    fn commands_come_back_as_they_were() {
        for command in [
            Command::Put { key: bytes("k"), value: bytes("v") },
            Command::Put { key: Vec::new(), value: Vec::new() },
            Command::Cas { key: bytes("k"), expected: None, value: bytes("v") },
            Command::Cas { key: bytes("k"), expected: Some(bytes("old")), value: bytes("v") },
            Command::Delete { key: bytes("k") },
        ] {
            assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
    }

    #[test]
    fn queries_and_answers_come_back_as_they_were() {
        for query in [
            Query::Get { key: bytes("k") },
            Query::Scan { prefix: bytes("p"), after: Some(bytes("pq")), rows_max: 7 },
            Query::Summary,
        ] {
            assert_eq!(Query::decode(&query.encode()), Ok(query));
        }
        let stored = Stored { value: bytes("v"), version: 3 };
        for answer in [
            Answer::Written { version: 9 },
            Answer::Mismatch { found: Some(bytes("f")) },
            Answer::Deleted { existed: true },
            Answer::Value(None),
            Answer::Value(Some(stored.clone())),
            Answer::Page { rows: vec![(bytes("k"), stored)], more: true },
            Answer::Summary(Summary { keys: 1, writes: 2, digest: 3 }),
            Answer::Malformed,
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn every_prefix_and_extension_is_malformed() {
        let whole =
            Command::Cas { key: bytes("key"), expected: Some(bytes("a")), value: bytes("b") }
                .encode();
        for len in 0..whole.len() {
            assert!(Command::decode(&whole[..len]).is_err(), "{len} bytes of {}", whole.len());
        }
        let mut longer = whole;
        longer.push(0);
        assert_eq!(Command::decode(&longer), Err(Malformed("bytes left over")));
        // A page that claims four billion rows must not allocate for them.
        let page = Encoder::new(5).u8(0).u32(u32::MAX).finish();
        assert_eq!(Answer::decode(&page), Err(Malformed("cut short")));
    }
}
