//! What a datagram between two nodes holds: a whole raft message, a part of one, or how far a
//! receiver of parts has come.

use crate::parts::{Have, Part};

/// The bytes before a whole message's own.
pub(crate) const WHOLE_OVERHEAD: usize = 1;

const WHOLE: u8 = 0;
const PART: u8 = 1;
const HAVE: u8 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Envelope<'a> {
    Whole(&'a [u8]),
    Part(Part<'a>),
    Have(Have),
}

impl<'a> Envelope<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Whole(bytes) => [&[WHOLE], *bytes].concat(),
            Self::Part(Part { message, place, count, bytes }) => [
                &[PART],
                &message.to_le_bytes()[..],
                &place.to_le_bytes(),
                &count.to_le_bytes(),
                bytes,
            ]
            .concat(),
            Self::Have(Have { message, next }) => {
                [&[HAVE], &message.to_le_bytes()[..], &next.to_le_bytes()].concat()
            }
        }
    }

    pub(crate) fn decode(datagram: &'a [u8]) -> Option<Self> {
        let (kind, rest) = datagram.split_first()?;
        match *kind {
            WHOLE => Some(Self::Whole(rest)),
            PART => {
                let (message, rest) = rest.split_first_chunk()?;
                let (place, rest) = rest.split_first_chunk()?;
                let (count, bytes) = rest.split_first_chunk()?;
                Some(Self::Part(Part {
                    message: u64::from_le_bytes(*message),
                    place: u32::from_le_bytes(*place),
                    count: u32::from_le_bytes(*count),
                    bytes,
                }))
            }
            HAVE => {
                let (message, rest) = rest.split_first_chunk()?;
                let next = u32::from_le_bytes(rest.try_into().ok()?);
                Some(Self::Have(Have { message: u64::from_le_bytes(*message), next }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::PART_OVERHEAD;

    #[test]
    fn every_envelope_comes_out_as_it_went_in() {
        let part = Part { message: u64::MAX - 1, place: 3, count: 9, bytes: b"part" };
        let all = [
            Envelope::Whole(b""),
            Envelope::Whole(b"whole"),
            Envelope::Part(part),
            Envelope::Have(Have { message: 7, next: 4 }),
        ];
        for envelope in all {
            assert_eq!(Envelope::decode(&envelope.encode()), Some(envelope));
        }
        assert_eq!(Envelope::Whole(b"").encode().len(), WHOLE_OVERHEAD);
        assert_eq!(Envelope::Part(Part { bytes: b"", ..part }).encode().len(), PART_OVERHEAD);
        for malformed in [&b""[..], &[PART; 16], &[HAVE; 12], &[HAVE; 14], &[9]] {
            assert_eq!(Envelope::decode(malformed), None, "{malformed:?}");
        }
    }
}
