//! One simulation: step by step, the programs and the model side by side.

use std::fmt;

use electrode_ebpf_abi::{Board, Tick};
use electrode_transport::rules::Acceptor;
use electrode_transport::{MemberIndex, Time};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::bench::{Bench, Found, now};
use super::draw::Draw;
use super::model::{Group, Model, Seen, Step};
use crate::kernel::mapped::Mapped;

/// How often the counters are read when nobody looks for a step: each reading is a system call.
const TICKS_EVERY: u64 = 32;

/// Where and how programs and model parted.
#[derive(Debug)]
pub(super) struct Difference(pub(super) String);

/// What a simulation went through, to show that it went everywhere.
#[derive(Clone, Debug)]
pub(super) struct Census {
    pub(super) steps: u64,
    pub(super) ticks: [u64; Tick::COUNT],
}

impl Default for Census {
    fn default() -> Self {
        Self { steps: 0, ticks: [0; Tick::COUNT] }
    }
}

impl Census {
    pub(super) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        for (sum, ticks) in self.ticks.iter_mut().zip(&other.ticks) {
            *sum += ticks;
        }
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps alike", self.steps)?;
        for tick in Tick::ALL {
            write!(f, ", {} {}", tick.name(), self.ticks[*tick as usize])?;
        }
        Ok(())
    }
}

/// Runs so many steps of a seed. `is_close` compares the counters after every step.
pub(super) fn simulate(
    bench: &mut Bench,
    seed: u64,
    steps: u64,
    is_close: bool,
    census: &mut Census,
) -> Result<(), Difference> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let name = bench.name;
    let mut model = bench.begin().map_err(|error| Difference(format!("{name}: {error:?}")))?;
    let mut draw = Draw::new(&mut dice, &model);
    for number in 0..steps {
        let step = draw.step(&mut dice, &model);
        let is_last = number + 1 == steps;
        let counts = is_close || is_last || number % TICKS_EVERY == 0;
        take(bench, &mut model, &step, counts).map(drop).map_err(|what| {
            let hint = "ELECTRODE_SEED runs it alone and compares the counters at every step";
            Difference(format!("{name}, seed {seed}, step {number}: {what}\n{step:?}\n({hint})"))
        })?;
    }
    census.add(&Census { steps, ticks: model.ticks });
    Ok(())
}

/// Takes a step on both sides and compares all that can be seen of them; with `counts` the counters too.
pub(super) fn take(
    bench: &mut Bench,
    model: &mut Model,
    step: &Step,
    counts: bool,
) -> Result<Seen, String> {
    let mut found = Found::default();
    let before = now();
    let seen = bench.take(step, &mut found).map_err(|error| format!("{error:?}"))?;
    let after = now();
    if matches!(step, Step::Drain) {
        let told = std::mem::take(&mut model.told);
        let records = std::mem::take(&mut model.records);
        same("what the rings held", &found, &Found { records, told })?;
    }
    let boards = &bench.kernel.boards;
    // The programs read the clock themselves. What they noted is believed if it can be.
    let clock = |place: u32| {
        let heard = Time(boards.acceptor(place)[HEARD]);
        if (before..=after).contains(&heard) { heard } else { before }
    };
    let ticks = model.ticks;
    let expected = model.take(step, clock);
    if seen != expected {
        let is_new = |tick: &&Tick| ticks[**tick as usize] != model.ticks[**tick as usize];
        let counted: Vec<_> = Tick::ALL.iter().filter(is_new).collect();
        let should = format!("and should have done, counting {counted:?},\n{expected:?}");
        return Err(format!("the programs did\n{seen:?}\n{should}"));
    }
    let produced = [model.log.produced, model.notices.produced];
    same("how far the rings are", &bench.produced(), &produced)?;
    same("frames let through to the socket", &bench.passed(), &model.passed)?;
    let lost = model.ticks[Tick::NoticeLost as usize];
    same("notices for which there was no room", &bench.notices_lost(), &lost)?;
    for (place, group) in model.groups.iter().enumerate() {
        board(boards, place as u32, group)?;
    }
    if counts {
        let ticks = bench.ticks().map_err(|error| format!("{error:?}"))?;
        count(&ticks, &model.ticks)?;
    }
    Ok(seen)
}

/// The word of an acceptor that says when its leader was heard.
const HEARD: usize = 5;

fn same<T: PartialEq + fmt::Debug>(what: &str, is: &T, should: &T) -> Result<(), String> {
    if is == should {
        return Ok(());
    }
    Err(format!("{what}: is\n{is:?}\nand should be\n{should:?}"))
}

fn board(boards: &Mapped<Board>, place: u32, group: &Group) -> Result<(), String> {
    let what = |name: &str| format!("place {place}, {name} on the board");
    let acceptor = boards.acceptor(place);
    if acceptor != words(&group.acceptor) {
        same(&what("the acceptor"), &acceptor, &words(&group.acceptor))?;
    }
    let tally = &group.tally;
    let is = [
        boards.sequence(place),
        boards.led(place),
        boards.sent(place),
        boards.quorum(place),
        boards.probe_sent(place),
        boards.probe_quorum(place),
        boards.lease(place),
    ];
    let should = [
        group.sequence,
        tally.ballot().0,
        tally.sent().0,
        tally.quorum().0,
        tally.probe_sent(),
        tally.probe_quorum(),
        group.lease,
    ];
    if is != should {
        same(&what("the leader's words, sequence first, lease last,"), &is, &should)?;
    }
    if !group.is_open {
        return Ok(());
    }
    for member in (0..32).map(MemberIndex) {
        let is =
            [boards.acked(place, member), boards.probed(place, member), boards.next(place, member)];
        let next = group.next[usize::from(member.0)];
        let should = [tally.acked(member).0, tally.probed(member), next];
        if is != should {
            same(&what(&format!("acked, probed, next of member {member}")), &is, &should)?;
        }
    }
    Ok(())
}

/// An acceptor as it should lie in memory.
fn words(acceptor: &Acceptor) -> [u64; 8] {
    let (fence, ballot) = (acceptor.fence(), acceptor.ballot());
    let is_ended = acceptor.has_followed(fence) && ballot != fence;
    let flags = [acceptor.leader().0, acceptor.mode() as u8, is_ended.into(), 0, 0, 0, 0, 0];
    let position = acceptor.position();
    [
        fence.0,
        ballot.0,
        position.next.0,
        position.acknowledged.0,
        acceptor.commit().0,
        acceptor.heard().0,
        acceptor.lease_until().0,
        u64::from_le_bytes(flags),
    ]
}

/// Every counter, and that those of arrivals add up.
fn count(is: &[u64; Tick::COUNT], should: &[u64; Tick::COUNT]) -> Result<(), String> {
    for tick in Tick::ALL {
        let at = *tick as usize;
        same(tick.name(), &is[at], &should[at])?;
    }
    let outcomes = Tick::Stored as usize..=Tick::PassOff as usize;
    same("what the arrivals add up to", &is[outcomes].iter().sum(), &is[Tick::Seen as usize])
}
