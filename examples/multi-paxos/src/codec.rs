//! Bytes in and out, with every length checked. Written by hand: the messages are a dozen flat
//! structs, their size must be known before they are built (one datagram each), and nothing that
//! comes off the wire may allocate more than it brought.

/// Why bytes are not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end too early.
    #[error("the bytes end too early")]
    Truncated,
    /// They go on after the end.
    #[error("{count} bytes follow after the end")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// Another version wrote them.
    #[error("version {found} is not understood, only {expected}")]
    Version {
        /// Theirs.
        found: u8,
        /// Ours.
        expected: u8,
    },
    /// A kind that does not exist.
    #[error("kind {found} does not exist")]
    Kind {
        /// What it says.
        found: u8,
    },
    /// A count or number out of its range.
    #[error("{field} is {value}, which cannot be")]
    Range {
        /// Which.
        field: &'static str,
        /// What it says.
        value: u64,
    },
    /// The checksum does not match.
    #[error("the checksum does not match")]
    Checksum,
}

pub(crate) type Decoded<T> = Result<T, DecodeError>;

/// Takes a byte slice apart from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Decoded<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Decoded<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn flag(&mut self, field: &'static str) -> Decoded<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Range { field, value: value.into() }),
        }
    }

    /// Bytes with their length in front. A length past the end is an error before it is memory.
    pub(crate) fn bytes(&mut self) -> Decoded<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    pub(crate) fn version(&mut self, expected: u8) -> Decoded<()> {
        let found = self.u8()?;
        if found == expected { Ok(()) } else { Err(DecodeError::Version { found, expected }) }
    }

    pub(crate) const fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) const fn finish(self) -> Decoded<()> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(DecodeError::Trailing { count }),
        }
    }
}

pub(crate) fn put_u16(into: &mut Vec<u8>, value: u16) {
    into.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u32(into: &mut Vec<u8>, value: u32) {
    into.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(into: &mut Vec<u8>, value: u64) {
    into.extend_from_slice(&value.to_le_bytes());
}

/// Bytes with their length in front. What is longer than 4 GiB never gets here: values fit a
/// datagram, and snapshots are limited by `snapshot_len_max`.
pub(crate) fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(into, bytes.len() as u32);
    into.extend_from_slice(bytes);
}
