//! A group's state: found, locked, shown on its board.

use aya_ebpf::helpers::{bpf_spin_lock, bpf_spin_unlock};
use electrode_ebpf_abi::{Board, Group, Notice, Tick};
use electrode_transport::rules::Acceptor;
use electrode_transport::{MemberIndex, Slot, Time};

use crate::maps::{
    Cell, HINTS, el_boards, el_desk, el_groups, el_hints, el_notices, el_places, el_ticks,
};

/// One group, by its place in the maps. The pointers lead into map values of static size.
#[derive(Clone, Copy)]
pub struct Seat {
    pub place: u32,
    pub cell: *mut Cell,
    pub board: *mut Board,
}

impl Seat {
    #[inline(always)]
    pub fn at(place: u32) -> Option<Self> {
        let cell = el_groups.get_ptr_mut(place)?;
        let board = el_boards.get_ptr_mut(place)?;
        Some(Self { place, cell, board })
    }

    /// The open group's of that id. It may close meanwhile: whoever takes the lock looks again.
    #[inline(always)]
    pub fn of(id: u32) -> Option<Self> {
        // SAFETY: the value is one word, never half written.
        let mut place = unsafe { el_hints.get_ptr(hint(id))?.read_volatile() };
        let cell = el_groups.get_ptr(place);
        // SAFETY: a map value that lives as long as the program runs; plain words.
        let is_it =
            cell.is_some_and(|cell| unsafe { (*cell).group.id == id && (*cell).group.open != 0 });
        if !is_it {
            // SAFETY: the value is one word, never half written.
            place = unsafe { *el_places.get(id)? };
        }
        Self::at(place)
    }

    /// The state, for a look without the lock: what it says may be past already.
    #[inline(always)]
    pub fn glance(&self) -> &Group {
        // SAFETY: it lives as long as the program runs; every word of it is plain data.
        unsafe { &(*self.cell).group }
    }

    /// Runs `step` under the lock. It must call no helper.
    ///
    /// `step` must be one program's alone: the compiler makes a function of a closure that two use, and
    /// its result has no shape in BTF.
    #[inline(always)]
    pub fn locked<R>(&self, step: impl FnOnce(&mut Group, &mut Board) -> R) -> R {
        let (group, board) = self.lock();
        let result = step(group, board);
        self.unlock();
        result
    }

    /// Takes the lock: until [`unlock`](Self::unlock) no helper may be called, and what is answered is not
    /// used after it.
    #[inline(always)]
    pub fn lock<'a>(self) -> (&'a mut Group, &'a mut Board) {
        // SAFETY: the lock of a map value that lives as long as the program runs. While it is held
        // nobody else writes the group, nor the kernel's words of the board.
        unsafe {
            bpf_spin_lock(&raw mut (*self.cell).lock);
            (&mut (*self.cell).group, &mut *self.board)
        }
    }

    #[inline(always)]
    pub fn unlock(self) {
        // SAFETY: as above.
        unsafe { bpf_spin_unlock(&raw mut (*self.cell).lock) };
    }
}

/// The place of an id in the hints.
#[inline(always)]
pub const fn hint(id: u32) -> u32 {
    id & (HINTS as u32 - 1)
}

/// Shows the acceptor on the board, a word at a time: readers take none of them half.
#[inline(always)]
pub fn show_acceptor(acceptor: &Acceptor, board: &mut Board) {
    let words = core::ptr::from_ref(acceptor).cast::<u64>();
    for index in 0..8 {
        // SAFETY: an acceptor is eight words of plain data.
        unsafe { (&raw mut board.acceptor[index]).write_volatile(words.add(index).read()) };
    }
}

/// Shows what a member's answer changed: its own marks first, what they add up to after.
#[inline(always)]
pub fn show_member(group: &Group, board: &mut Board, member: MemberIndex) {
    let index = member.0 as usize & 31;
    // SAFETY: in bounds by the mask; volatile, for readers on other CPUs.
    unsafe {
        (&raw mut board.acked[index]).write_volatile(group.tally.acked(member).0);
        (&raw mut board.probed[index]).write_volatile(group.tally.probed(member));
    }
    show_tally(group, board);
}

/// Shows the tally's own marks.
#[inline(always)]
pub fn show_tally(group: &Group, board: &mut Board) {
    let tally = &group.tally;
    // SAFETY: plain words; volatile, for readers on other CPUs.
    unsafe {
        (&raw mut board.led).write_volatile(tally.ballot().0);
        (&raw mut board.sent).write_volatile(tally.sent().0);
        (&raw mut board.probe_sent).write_volatile(tally.probe_sent());
        (&raw mut board.quorum).write_volatile(tally.quorum().0);
        (&raw mut board.probe_quorum).write_volatile(tally.probe_quorum());
    }
}

/// What a member expects next, as it said.
#[inline(always)]
pub fn show_next(board: &mut Board, member: MemberIndex, next: Slot) {
    let index = member.0 as usize & 31;
    // SAFETY: in bounds by the mask.
    unsafe { (&raw mut board.next[index]).write_volatile(next.0) };
}

/// Takes over what user space has written on the board: the lease. Under the lock.
#[inline(always)]
pub fn renew_lease(group: &mut Group, board: &Board) {
    // SAFETY: a word that user space writes whole.
    let until = unsafe { (&raw const board.lease_until).read_volatile() };
    group.acceptor.renew(Time(if broken!("no_lease") { u64::MAX } else { until }));
}

/// Whether the group's log has room for a body, as user space has released it so far. Under the lock.
#[inline(always)]
pub fn has_room(group: &Group, board: &Board, charge: u64) -> bool {
    // SAFETY: a word that user space writes whole.
    let released = unsafe { (&raw const board.released).read_volatile() };
    let held = group.charged.wrapping_sub(released);
    broken!("no_limit") || held.saturating_add(charge) <= group.log_limit
}

/// Counts a thing on this CPU.
#[inline(always)]
pub fn tick(what: Tick) {
    tick_by(what, 1);
}

#[inline(always)]
pub fn tick_by(what: Tick, by: u64) {
    tick_by_index(what as usize, by);
}

/// The same by the counter's index, which must be below [`Tick::COUNT`].
#[inline(always)]
pub fn tick_by_index(index: usize, by: u64) {
    if let Some(ticks) = el_ticks.get_ptr_mut(0) {
        // SAFETY: this CPU's own counters. A program that interrupts another here may lose it a
        // count, never more.
        unsafe { *(&raw mut (*ticks)).cast::<u64>().add(index) += by };
    }
}

/// How a record is to be submitted: user space that is awake looks for itself, and one that sleeps is
/// woken, from a nap only if it is urgent. Called after the record was reserved: the atomic operation
/// orders the two, so that who goes to sleep either is seen here or sees the record.
#[inline(always)]
pub fn wake_flag(is_urgent: bool) -> u64 {
    const NO_WAKEUP: u64 = 1;
    const FORCE_WAKEUP: u64 = 2;
    let Some(desk) = el_desk.get_ptr_mut(0) else { return FORCE_WAKEUP };
    // SAFETY: a word of the desk, which lives as long as the program runs.
    let asleep = unsafe { &raw mut (*desk).asleep };
    let mut sleepers = fetch_add(asleep, 0);
    if is_urgent {
        // SAFETY: a word that user space writes whole; read after the operation above.
        sleepers |= unsafe { (&raw const (*desk).napping).read_volatile() };
    }
    if sleepers == 0 { NO_WAKEUP } else { FORCE_WAKEUP }
}

/// A frame to our port goes up the stack: user space must look at its socket.
#[inline(always)]
pub fn note_passed() {
    if let Some(desk) = el_desk.get_ptr_mut(0) {
        // SAFETY: a word of the desk, which lives as long as the program runs.
        let passed = unsafe { &raw mut (*desk).passed };
        fetch_add(passed, 1);
    }
}

/// The target has no `AtomicU64::fetch_add`, though the processor has the instruction.
#[inline(always)]
fn fetch_add(word: *mut u64, by: u64) -> u64 {
    use core::intrinsics::{AtomicOrdering, atomic_xadd};
    // SAFETY: the word is aligned and lives as long as the program runs.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(word, by) }
}

/// Tells user space that something has come about. If there is no room it is told that, and looks at every
/// board: it has notices to read, so it is awake or will be woken.
#[inline(always)]
pub fn notify(place: u32, news: u32) {
    use aya_ebpf::helpers::generated as helper;
    let ring = core::ptr::from_ref(&el_notices).cast_mut().cast();
    // SAFETY: the ring is a map of this program and the size is that of a notice.
    let reserve = || unsafe { helper::bpf_ringbuf_reserve(ring, size_of::<Notice>() as u64, 0) };
    let mut record = reserve().cast::<Notice>();
    if record.is_null() {
        tick(Tick::NoticeLost);
        if let Some(desk) = el_desk.get_ptr_mut(0) {
            // SAFETY: a word of the desk, which lives as long as the program runs.
            fetch_add(unsafe { &raw mut (*desk).notices_lost }, 1);
        }
        // User space may have emptied the ring before it could see that, and gone to sleep.
        record = reserve().cast();
        if record.is_null() {
            return;
        }
    }
    // SAFETY: a notice was reserved there.
    unsafe { record.write(Notice { place, news }) };
    // SAFETY: a record of this ring that was not submitted yet.
    unsafe { helper::bpf_ringbuf_submit(record.cast(), wake_flag(true)) };
}
