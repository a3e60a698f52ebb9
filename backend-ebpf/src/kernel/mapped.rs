//! Map values that both sides have mapped.

use std::io;
use std::marker::PhantomData;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use electrode_ebpf_abi::{Board, Desk};
use electrode_transport::{MEMBERS_MAX, MemberIndex};

/// A mapping of memory that the kernel shares. Unmapped at its end.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is shared with other processors anyway; all access to it is by atomic words or,
// for ring data, to what the kernel has handed over.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes at `offset` of a map.
    pub(crate) fn new(
        map: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        write: bool,
    ) -> io::Result<Self> {
        let protection = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a fresh mapping that overlays nothing.
        let start = unsafe {
            let shared = libc::MAP_SHARED;
            libc::mmap(ptr::null_mut(), len, protection, shared, map.as_raw_fd(), offset)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, len })
    }

    /// The byte at `offset`.
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset < self.len, "within the mapping");
        // SAFETY: in bounds, as just checked.
        unsafe { self.start.add(offset) }
    }

    /// How many bytes it has.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Memory that only this process writes, and nobody while it is borrowed.
    pub(crate) fn bytes(&self, offset: usize, len: usize) -> &[u8] {
        assert!(offset <= self.len && len <= self.len - offset, "within the mapping");
        // SAFETY: in bounds, as just checked.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: plain bytes of the mapping; the callers' own account says that nobody writes them.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    /// Writes to memory that only this process uses.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(offset <= self.len && bytes.len() <= self.len - offset, "within the mapping");
        // SAFETY: in bounds, as just checked.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: as above; a borrowed slice of somebody else's memory does not overlap it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), start.as_ptr(), bytes.len()) };
    }

    /// The word at `offset`.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= self.len, "a word of the mapping");
        let word = self.at(offset).as_ptr().cast();
        // SAFETY: in bounds and aligned, as just checked; whoever else writes it writes it whole.
        unsafe { AtomicU64::from_ptr(word) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the whole of a mapping that nobody refers to any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// An array map of `T`s, mapped.
#[derive(Debug)]
pub(crate) struct Mapped<T> {
    mapping: Mapping,
    entries: usize,
    of: PhantomData<fn() -> T>,
}

impl<T> Mapped<T> {
    pub(crate) fn new(map: BorrowedFd<'_>, entries: usize) -> io::Result<Self> {
        let len = (entries * size_of::<T>()).next_multiple_of(page_size());
        Ok(Self { mapping: Mapping::new(map, 0, len, true)?, entries, of: PhantomData })
    }

    fn word(&self, entry: usize, offset: usize) -> &AtomicU64 {
        assert!(entry < self.entries && offset < size_of::<T>(), "a word of an entry");
        self.mapping.word(entry * size_of::<T>() + offset)
    }
}

const STAMP: [usize; 3] =
    [offset_of!(Desk, layout), offset_of!(Desk, cluster), offset_of!(Desk, node)];

pub(crate) fn page_size() -> usize {
    // SAFETY: no pointers are involved.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4_096)
}

/// Reads and writes of one group's board, by its place.
impl Mapped<Board> {
    fn read(&self, place: u32, offset: usize) -> u64 {
        self.word(place as usize, offset).load(Ordering::Acquire)
    }

    fn read_of(&self, place: u32, offset: usize, member: MemberIndex) -> u64 {
        self.read(place, offset + 8 * (usize::from(member.0) % MEMBERS_MAX))
    }

    /// The acceptor as words. Those that frames change are read so that what was acknowledged is never
    /// ahead of what was stored.
    pub(crate) fn acceptor(&self, place: u32) -> [u64; 8] {
        const NEXT: usize = 2;
        const ACKNOWLEDGED: usize = 3;
        let base = offset_of!(Board, acceptor);
        let acknowledged = self.read(place, base + 8 * ACKNOWLEDGED);
        let mut words = [0; 8];
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.read(place, base + 8 * index);
        }
        // The kernel writes the words in one step, and a processor that does not keep stores in order may
        // show some of them earlier: less is claimed then.
        words[ACKNOWLEDGED] = acknowledged.min(words[NEXT].saturating_sub(1));
        words
    }

    #[cfg(test)]
    pub(crate) fn sequence(&self, place: u32) -> u64 {
        self.read(place, offset_of!(Board, sequence))
    }

    pub(crate) fn led(&self, place: u32) -> u64 {
        self.read(place, offset_of!(Board, led))
    }

    #[cfg(test)]
    pub(crate) fn sent(&self, place: u32) -> u64 {
        self.read(place, offset_of!(Board, sent))
    }

    pub(crate) fn quorum(&self, place: u32) -> u64 {
        self.read(place, offset_of!(Board, quorum))
    }

    pub(crate) fn probe_sent(&self, place: u32) -> u64 {
        self.read(place, offset_of!(Board, probe_sent))
    }

    pub(crate) fn probe_quorum(&self, place: u32) -> u64 {
        self.read(place, offset_of!(Board, probe_quorum))
    }

    pub(crate) fn acked(&self, place: u32, member: MemberIndex) -> u64 {
        self.read_of(place, offset_of!(Board, acked), member)
    }

    pub(crate) fn probed(&self, place: u32, member: MemberIndex) -> u64 {
        self.read_of(place, offset_of!(Board, probed), member)
    }

    pub(crate) fn next(&self, place: u32, member: MemberIndex) -> u64 {
        self.read_of(place, offset_of!(Board, next), member)
    }

    /// So many charged bytes have been handed on.
    pub(crate) fn set_released(&self, place: u32, released: u64) {
        self.word(place as usize, offset_of!(Board, released)).store(released, Ordering::Release);
    }

    pub(crate) fn released(&self, place: u32) -> u64 {
        self.read(place, offset_of!(Board, released))
    }

    pub(crate) fn set_lease(&self, place: u32, until: u64) {
        self.word(place as usize, offset_of!(Board, lease_until)).store(until, Ordering::Release);
    }

    pub(crate) fn lease(&self, place: u32) -> u64 {
        self.read(place, offset_of!(Board, lease_until))
    }
}

impl Mapped<Desk> {
    /// What is pinned: its layout, its cluster, its node.
    pub(crate) fn stamp(&self) -> [u64; 3] {
        STAMP.map(|offset| self.word(0, offset).load(Ordering::Acquire))
    }

    pub(crate) fn set_stamp(&self, stamp: [u64; 3]) {
        for (offset, word) in STAMP.into_iter().zip(stamp) {
            self.word(0, offset).store(word, Ordering::Release);
        }
    }

    /// One more sleeps, or one fewer. What is looked at afterwards is newer than what the kernel
    /// judged by before it could see the sleeper.
    pub(crate) fn sleepers(&self) -> &AtomicU64 {
        self.word(0, offset_of!(Desk, asleep))
    }

    /// The same of those who nap.
    pub(crate) fn nappers(&self) -> &AtomicU64 {
        self.word(0, offset_of!(Desk, napping))
    }

    /// Notices for which there was no room.
    pub(crate) fn notices_lost(&self) -> u64 {
        self.word(0, offset_of!(Desk, notices_lost)).load(Ordering::Acquire)
    }

    /// As the kernel does when it has no room for a notice.
    #[cfg(test)]
    pub(crate) fn lose_notice(&self) {
        self.word(0, offset_of!(Desk, notices_lost)).fetch_add(1, Ordering::Release);
    }

    /// Frames to our port that the kernel let through to the socket.
    pub(crate) fn passed(&self) -> u64 {
        self.word(0, offset_of!(Desk, passed)).load(Ordering::Acquire)
    }
}
