//! The fuzzer's bytes as choices. At the end of the input everything is zero.

pub(crate) struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    /// Mostly small, sometimes at the other end, sometimes anything.
    pub(crate) fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=223 => u64::from(small % 32),
            high @ 224..=239 => u64::MAX - u64::from(high - 224),
            _ => self.take(8).iter().fold(0, |number, &byte| number << 8 | u64::from(byte)),
        }
    }

    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }
}
