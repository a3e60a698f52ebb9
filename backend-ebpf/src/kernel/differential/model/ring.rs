//! A ring's room.

/// How far a ring's producer and consumer are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Ring {
    pub(in super::super) produced: u64,
    consumed: u64,
    bytes: u64,
}

impl Ring {
    /// A drained one.
    pub(in super::super) const fn new(produced: u64, bytes: u64) -> Self {
        Self { produced, consumed: produced, bytes }
    }

    /// Every record has a head of eight bytes, and one byte of the ring stays free.
    pub(super) const fn reserve(&mut self, size: u64) -> bool {
        let until = self.produced + (size + 8).next_multiple_of(8);
        if until - self.consumed >= self.bytes {
            return false;
        }
        self.produced = until;
        true
    }

    pub(super) const fn drain(&mut self) {
        self.consumed = self.produced;
    }
}
