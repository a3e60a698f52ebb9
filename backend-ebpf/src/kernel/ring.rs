//! Reading a BPF ring buffer (Linux 5.8): a byte ring whose records have a busy bit.
//!
//! Our own, because invariant 2 needs what a library's iterator hides: the producer's position as of
//! now, and waiting for records that were reserved before it and are still being written.

use std::io;
use std::os::fd::BorrowedFd;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::mapped::{Mapping, page_size};

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEAD: u64 = 8;

/// The consumer's side of one ring. There must be no other.
#[derive(Debug)]
pub(crate) struct Ring {
    consumer: Mapping,
    /// The producer's page, and then the data twice over, so that no record is in two pieces.
    shared: Mapping,
    page: usize,
    bytes: u64,
    /// As far as was read.
    position: u64,
}

impl Ring {
    /// Maps a ring of so many bytes of data.
    pub(crate) fn new(map: BorrowedFd<'_>, bytes: u32) -> io::Result<Self> {
        let page = page_size();
        let consumer = Mapping::new(map, 0, page, true)?;
        let shared = Mapping::new(map, page, page + 2 * bytes as usize, false)?;
        let position = consumer.word(0).load(Ordering::Acquire);
        Ok(Self { consumer, shared, page, bytes: bytes.into(), position })
    }

    fn producer(&self) -> &AtomicU64 {
        self.shared.word(0)
    }

    /// Whether anything was reserved that has not been read.
    pub(crate) fn is_ripe(&self) -> bool {
        self.producer().load(Ordering::Acquire) != self.position
    }

    /// How far reservations have come.
    pub(crate) fn produced(&self) -> u64 {
        self.producer().load(Ordering::Acquire)
    }

    /// Reads what is there, up to the first record that is still being written.
    pub(crate) fn read(&mut self, mut take: impl FnMut(&[u8])) -> usize {
        let (until, mut count) = (self.produced(), 0);
        while self.position < until && self.read_one(&mut take) {
            count += 1;
        }
        self.release();
        count
    }

    /// Reads everything that was reserved before this call, and waits for what is still being
    /// written: the programs do that with no sleep in between.
    pub(crate) fn read_reserved(&mut self, mut take: impl FnMut(&[u8])) {
        let until = self.produced();
        while self.position < until {
            if !self.read_one(&mut take) {
                std::hint::spin_loop();
            }
        }
        self.release();
    }

    /// The next record; `false` if it is still being written.
    fn read_one(&mut self, take: &mut impl FnMut(&[u8])) -> bool {
        let at = self.page + (self.position & (self.bytes - 1)) as usize;
        let head = self.shared.at(at);
        // SAFETY: every record begins with an aligned word of its length and bits.
        let len = unsafe { AtomicU32::from_ptr(head.as_ptr().cast()) }.load(Ordering::Acquire);
        if len & BUSY != 0 {
            return false;
        }
        let size = len & !DISCARDED;
        if len & DISCARDED == 0 {
            let body = self.shared.at(at + HEAD as usize);
            // SAFETY: the kernel has handed over `size` bytes there, and takes them back only when
            // the consumer's position has passed them, which happens after.
            take(unsafe { slice::from_raw_parts(body.as_ptr(), size as usize) });
        }
        self.position += (u64::from(size) + HEAD).next_multiple_of(8);
        true
    }

    /// Gives the place of what was read back to the producers.
    fn release(&self) {
        self.consumer.word(0).store(self.position, Ordering::Release);
    }
}
