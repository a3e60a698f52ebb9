//! The real programs, made to take a step.

use std::collections::VecDeque;
use std::io;

use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions, Xdp};
use electrode_ebpf_abi::{Endpoint, Notice, OWN_MARK, Record, Tick};
use electrode_transport::Time;

use super::model::{Bytes, Hook, Model, Order, PLACES, Ring, Seen, Step};
use crate::error::EbpfError;
use crate::kernel::load::{IN_TC, IN_XDP, OUT_TC};
use crate::kernel::{Kernel, Rings, Settings};

/// The offset and length of what the tests use of `struct __sk_buff`.
const CONTEXT_LEN: usize = 192;
const MARK: usize = 8;
const GSO_SEGS: usize = 164;
const GSO_SIZE: usize = 176;

/// What a TC program returns (linux/pkt_cls.h).
const TC_NEXT: u32 = !0;
const TC_SHOT: u32 = 2;
const TC_REDIRECT: u32 = 7;

/// The programs of one load, and this thread's CPU's ring.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) name: &'static str,
    pub(super) settings: Settings,
    pub(super) kernel: Kernel,
    rings: Rings,
    cpu: usize,
    out: Vec<u8>,
    /// What the counters were when the simulation began.
    ticks: [u64; Tick::COUNT],
    passed: u64,
    notices_lost: u64,
}

/// What a drain has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) records: VecDeque<(Record, Bytes)>,
    pub(super) told: VecDeque<Notice>,
}

impl Bench {
    /// Loads the programs, for runs on this thread, which stays on one CPU from now on: there is one
    /// ring a CPU. `turn` says on which of those that it may use.
    pub(super) fn load(
        name: &'static str,
        object: Option<&[u8]>,
        settings: &Settings,
        turn: usize,
    ) -> Result<Self, EbpfError> {
        let cpu =
            stay(turn).map_err(|source| EbpfError::Io { operation: "stay on a CPU", source })?;
        let (mut kernel, rings) = match object {
            Some(object) => Kernel::load_object(object, settings)?,
            None => Kernel::load(settings)?,
        };
        kernel.load_xdp(IN_XDP)?;
        kernel.load_tc(IN_TC)?;
        kernel.load_tc(OUT_TC)?;
        Ok(Self {
            name,
            settings: settings.clone(),
            kernel,
            rings,
            cpu,
            out: vec![0; 1 << 16],
            ticks: [0; Tick::COUNT],
            passed: 0,
            notices_lost: 0,
        })
    }

    /// Closes every place, drains the rings, and says what a simulation begins with.
    pub(super) fn begin(&mut self) -> Result<Model, EbpfError> {
        let mut shown = [[0; 2]; PLACES];
        for (place, shown) in (0..).zip(&mut shown) {
            self.kernel.close_group(place)?;
            *shown = [self.kernel.boards.lease(place), self.kernel.boards.sequence(place)];
        }
        self.drain();
        self.ticks = self.kernel.ticks()?;
        self.passed = self.kernel.desk.passed();
        self.notices_lost = self.kernel.desk.notices_lost();
        let bytes = [self.settings.log_bytes, self.settings.notice_bytes];
        let [log, notices] = self.produced();
        let rings = [Ring::new(log, bytes[0].into()), Ring::new(notices, bytes[1].into())];
        let endpoint: Endpoint = self.settings.endpoint;
        Ok(Model::new(endpoint, self.settings.offloads, rings, shown))
    }

    /// Takes a step. A drain's finds go to `found`.
    pub(super) fn take(&mut self, step: &Step, found: &mut Found) -> Result<Seen, EbpfError> {
        Ok(match step {
            Step::Arrive(hook, packet) => self.arrive(*hook, &packet.0)?,
            Step::ArriveWhole(packet, step) => self.arrive_whole(&packet.0, *step)?,
            Step::Leave(packet, mark) => self.leave(&packet.0, *mark, 0)?,
            Step::LeaveWhole(packet, step) => self.leave(&packet.0, 0, *step)?,
            Step::Order(order) => Seen::Answer(self.order(order)?),
            Step::Lease(place, until) => {
                self.kernel.boards.set_lease(*place, *until);
                Seen::Nothing
            }
            Step::Release(place, bytes) => {
                self.kernel.boards.set_released(*place, *bytes);
                Seen::Nothing
            }
            Step::Drain => {
                *found = self.drain();
                Seen::Nothing
            }
        })
    }

    fn order(&self, order: &Order) -> Result<u32, EbpfError> {
        let kernel = &self.kernel;
        match order {
            Order::Open(place, opening) => kernel.open(*place, opening),
            Order::Seat(place, seating) => kernel.seat(*place, seating),
            Order::Close(place) => kernel.close_group(*place),
            Order::Offer(command, body) => kernel.offer(*command, &body.0),
            Order::Plain(op, command) => kernel.command(*op, *command),
        }
    }

    fn arrive(&mut self, hook: Hook, packet: &[u8]) -> Result<Seen, EbpfError> {
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut self.out),
            ..TestRunOptions::new()
        };
        let failed = |source| EbpfError::Command { source: Box::new(source) };
        let (ran, [pass, drop, back]) = match hook {
            Hook::Xdp => (xdp(&self.kernel).and_then(|it| it.test_run(options)), [2, 1, 3]),
            Hook::Tc => {
                let ran = tc(&self.kernel, IN_TC).and_then(|it| it.test_run(options));
                (ran, [TC_NEXT, TC_SHOT, TC_REDIRECT])
            }
        };
        let ran = ran.map_err(failed)?;
        let out = &self.out[..ran.data_size_out as usize];
        Ok(match ran.return_value {
            value if value == pass => Seen::Passed(Bytes(out.to_vec())),
            value if value == drop => Seen::Dropped,
            value if value == back => Seen::Returned(Bytes(out.to_vec())),
            value => Seen::Answer(value),
        })
    }

    fn arrive_whole(&mut self, packet: &[u8], step: u32) -> Result<Seen, EbpfError> {
        let context = context(packet, 0, step);
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut self.out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let ran = tc(&self.kernel, IN_TC).and_then(|it| it.test_run(options));
        let ran = ran.map_err(|source| EbpfError::Command { source: Box::new(source) })?;
        let out = &self.out[..ran.data_size_out as usize];
        Ok(match ran.return_value {
            TC_NEXT => Seen::Passed(Bytes(out.to_vec())),
            TC_SHOT => Seen::Dropped,
            TC_REDIRECT => Seen::Returned(Bytes(out.to_vec())),
            value => Seen::Answer(value),
        })
    }

    fn leave(&mut self, packet: &[u8], mark: u32, step: u32) -> Result<Seen, EbpfError> {
        let (before, mut after) = (context(packet, mark, step), [0; CONTEXT_LEN]);
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut self.out),
            ctx_in: Some(&before),
            ctx_out: Some(&mut after),
            ..TestRunOptions::new()
        };
        let ran = tc(&self.kernel, OUT_TC).and_then(|it| it.test_run(options));
        let ran = ran.map_err(|source| EbpfError::Command { source: Box::new(source) })?;
        let out = Bytes(self.out[..ran.data_size_out as usize].to_vec());
        Ok(match (ran.return_value, half(&after, MARK)) {
            (TC_NEXT, 0) => Seen::Passed(out),
            (TC_NEXT, OWN_MARK) => Seen::Marked(out),
            (value, _) => Seen::Answer(value),
        })
    }

    fn drain(&mut self) -> Found {
        let mut found = Found::default();
        for ring in &mut self.rings.logs {
            ring.read(|bytes| found.records.push_back(record(bytes)));
        }
        self.rings.notices.read(|bytes| {
            found.told.push_back(Notice { place: half(bytes, 0), news: half(bytes, 4) });
        });
        found
    }

    /// How far the log ring and the notice ring are.
    pub(super) fn produced(&self) -> [u64; 2] {
        [self.rings.logs[self.cpu].produced(), self.rings.notices.produced()]
    }

    /// What the counters rose by since the simulation began.
    pub(super) fn ticks(&self) -> Result<[u64; Tick::COUNT], EbpfError> {
        let mut ticks = self.kernel.ticks()?;
        for (now, then) in ticks.iter_mut().zip(&self.ticks) {
            *now = now.wrapping_sub(*then);
        }
        Ok(ticks)
    }

    pub(super) fn passed(&self) -> u64 {
        self.kernel.desk.passed().wrapping_sub(self.passed)
    }

    pub(super) fn notices_lost(&self) -> u64 {
        self.kernel.desk.notices_lost().wrapping_sub(self.notices_lost)
    }
}

/// What a TC program is told of a packet with a mark, which is cut into datagrams of `step` bytes if that is
/// not zero.
fn context(packet: &[u8], mark: u32, step: u32) -> [u8; CONTEXT_LEN] {
    let mut context = [0; CONTEXT_LEN];
    let segments = if step == 0 { 0 } else { (packet.len() as u32).div_ceil(step) };
    for (at, word) in [(MARK, mark), (GSO_SEGS, segments), (GSO_SIZE, step)] {
        context[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    context
}

pub(super) fn xdp(kernel: &Kernel) -> Result<&Xdp, ProgramError> {
    let program = kernel.ebpf.program(IN_XDP).ok_or(ProgramError::NotLoaded)?;
    program.try_into()
}

pub(super) fn tc<'a>(kernel: &'a Kernel, name: &str) -> Result<&'a SchedClassifier, ProgramError> {
    let program = kernel.ebpf.program(name).ok_or(ProgramError::NotLoaded)?;
    program.try_into()
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

/// A record of a log ring with its body. One whose length is wrong shows by the body's.
fn record(bytes: &[u8]) -> (Record, Bytes) {
    let record = Record {
        sequence: word(bytes, 0),
        ballot: word(bytes, 8),
        first: word(bytes, 16),
        last: word(bytes, 24),
        place: half(bytes, 32),
        len: half(bytes, 36),
    };
    let body = &bytes[size_of::<Record>()..];
    (record, Bytes(body[..body.len().min(record.len as usize)].to_vec()))
}

/// Binds this thread to a CPU, and gives it a network of its own whose loopback interface, the one that
/// test runs see, is down: no packet goes anywhere.
pub(super) fn stay(turn: usize) -> io::Result<usize> {
    const LEN: usize = size_of::<libc::cpu_set_t>();
    // SAFETY: all zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set lives across the call; zero is this thread.
    let known = unsafe { libc::sched_getaffinity(0, LEN, &raw mut set) };
    let cpus: Vec<usize> = (0..8 * LEN)
        .filter(|cpu| {
            // SAFETY: within the set.
            unsafe { libc::CPU_ISSET(*cpu, &set) }
        })
        .collect();
    let cpu = *cpus.get(turn % cpus.len().max(1)).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: all zero is an empty set.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: within the set.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: as above.
    let bound = unsafe { libc::sched_setaffinity(0, LEN, &raw const one) };
    // SAFETY: no pointers are involved.
    let apart = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    if known != 0 || bound != 0 || apart != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cpu)
}

/// Now, on the clock that the programs read.
pub(super) fn now() -> Time {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` lives across the call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Time(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}
