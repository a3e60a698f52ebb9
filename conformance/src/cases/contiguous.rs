//! Invariant 3: an acknowledgement through s means every slot from the base to s.

use electrode_transport::wire::{FrameKind, flags};
use electrode_transport::{AckMode, Ballot, Counter, Frame, Slot};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::MODES;
use crate::case::Stage;
use crate::harness::SetupError;
use crate::lab::Lab;
use crate::spec::ClusterSpec;

cases! { Contiguous, "contiguous";
    "gap-is-not-stored", FastAck, [RECEIVED PERSISTED TAP INJECT], gap_is_not_stored,
        "A frame ahead of a missing one is not stored, and its answer says what is missing.";
    "resend-acked-with-what-is-stored", FastAck, [RECEIVED PERSISTED TAP INJECT], resend,
        "A duplicate is answered with what is stored, whatever newer frames have been seen.";
    "random-arrivals", FastAck, [RECEIVED PERSISTED TAP INJECT], random_arrivals,
        "In whatever order frames arrive, a claim never runs ahead of the stored prefix.";
    "slots-of-64-bits", FastAck, [RECEIVED PERSISTED], slots_of_64_bits,
        "Slots and ballots are 64 bits wide on every path.";
    "runs-of-slots", Core, [RECEIVED PERSISTED], runs_of_slots,
        "A frame's run of slots is stored, acknowledged and yielded as a whole.";
    "straddling-frame-claims-nothing", FastAck, [RECEIVED PERSISTED TAP INJECT], straddle,
        "A frame that begins inside what is stored and ends beyond is neither stored nor acknowledged.";
    "following-from-a-base", Core, [RECEIVED PERSISTED TAP], following_from_a_base,
        "Whoever follows from a slot has acknowledged everything before it, and nothing more.";
}

/// The newest answer of node 1, once there is one: claimed through, expected next, gap.
fn answer(lab: &mut Lab) -> (u64, u64, bool) {
    let mut found = None;
    lab.until("node 1 answers", |lab| {
        let seen = lab.take_seen();
        let last = seen.iter().rfind(|s| s.from == 1 && s.header.kind == FrameKind::Accepted);
        found = last.map(|seen| {
            let header = seen.header;
            (header.last.0, header.first.0, header.flags & flags::GAP != 0)
        });
        found.is_some()
    });
    found.unwrap_or_default()
}

fn gap_is_not_stored(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.follow(1, 0, 1, 1);
        lab.say_accept(0, 1, 1, 1);
        lab.until("slot 1 is stored", |lab| lab.count(1, Counter::RxStored) == 1);
        lab.serve(1, 1);
        lab.take_seen();
        for slot in [3, 4, 900] {
            lab.say_accept(0, 1, 1, slot);
            assert_eq!(answer(&mut lab), (1, 2, true), "after slot {slot}, without slot 2");
        }
        assert_eq!(lab.poll(1), 0, "nothing beyond the gap is stored");
        for slot in 2..=4 {
            lab.say_accept(0, 1, 1, slot);
        }
        lab.until("the gap is closed", |lab| {
            lab.serve(1, 1);
            lab.held(1, 1) == 4
        });
        lab.check();
    }
    Ok(())
}

fn resend(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.follow(1, 0, 1, 1);
        for slot in 1..=3 {
            lab.say_accept(0, 1, 1, slot);
        }
        lab.until("three slots are stored", |lab| lab.count(1, Counter::RxStored) == 3);
        lab.serve(1, 1);
        lab.say_accept(0, 1, 1, 9);
        lab.until("the gap is seen", |lab| lab.count(1, Counter::RxGap) == 1);
        lab.advance_ms(1);
        lab.take_seen();
        for slot in [2, 1, 3] {
            lab.say_accept(0, 1, 1, slot);
            assert_eq!(answer(&mut lab), (3, 4, false), "to a resend of slot {slot}");
        }
        lab.check();
    }
    Ok(())
}

fn random_arrivals(stage: &Stage<'_>) -> Result<(), SetupError> {
    stage.each_seed(60, 2, |seed| {
        for mode in MODES {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            let mut lab = stage.lab_seeded(&ClusterSpec::voters(3, mode), seed)?;
            lab.follow(1, 0, 1, 1);
            let mut stored = 0;
            for _ in 0..60 {
                // Near the front, so that runs, gaps and duplicates all come about.
                let slot = (stored + dice.random_range(0..4)).max(1);
                lab.say_accept(0, 1, 1, slot);
                if slot == stored + 1 {
                    stored += 1;
                }
                if dice.random_bool(0.2) {
                    lab.serve(1, 1);
                }
            }
            lab.until("the model's prefix is stored", |lab| {
                lab.serve(1, 1);
                lab.held(1, 1) == stored
            });
            lab.check();
        }
        Ok(())
    })
}

fn slots_of_64_bits(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        for next in [(1 << 32) - 3, (7 << 32) + 1, u64::MAX - 40] {
            let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
            let ballot = (1 << 40) + 1;
            lab.elect(0, ballot, next);
            lab.propose(0, ballot, next..=next + 7);
            lab.until_all(0, ballot, next + 7);
            lab.until_quorum(0, ballot, next + 7);
            lab.check();
        }
    }
    Ok(())
}

fn runs_of_slots(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.elect(0, 1, 1);
        let run = |first, last, body| Frame { first: Slot(first), last: Slot(last), body };
        let frames = [run(1, 10, b"ten".as_slice()), run(11, 11, b"one"), run(12, 65_547, b"most")];
        assert_eq!(lab.broadcast_frames(0, 1, &frames)?, 3);
        if mode == AckMode::Persisted {
            lab.acknowledge(0, 1, 65_547);
        }
        lab.until_all(0, 1, 65_547);
        lab.until_quorum(0, 1, 65_547);
        lab.check();

        // A library may acknowledge part of a run that it was handed.
        if mode == AckMode::Persisted {
            assert_eq!(lab.broadcast_frames(0, 1, &[run(65_548, 65_600, b"run")])?, 1);
            lab.until("the run is handed over", |lab| {
                lab.poll(1);
                lab.held(1, 1) == 65_600
            });
            lab.acknowledge(1, 1, 65_550);
            lab.acknowledge(0, 1, 65_600);
            lab.until("part of the run counts", |lab| lab.quorum(0, 1) == 65_550);
            lab.check();
        }
    }
    Ok(())
}

fn straddle(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.follow(1, 0, 1, 5);
        lab.advance_ms(1);
        lab.take_seen();
        let header = lab.header(FrameKind::Accept, 0, 1, [3, 7, 0]);
        lab.ledger.offers(lab.group, Ballot(1), (Slot(3), Slot(7), b"cut otherwise"));
        lab.say(0, 1, header, b"cut otherwise");
        assert_eq!(answer(&mut lab), (4, 5, false), "nothing of the straddling frame is claimed");
        assert_eq!(lab.poll(1), 0, "nor stored");
        // Its slots come another way, and the fast path goes on behind them.
        lab.acknowledge(1, 1, 7);
        lab.say_accept(0, 1, 1, 8);
        lab.until("slot 8 is stored", |lab| {
            lab.serve(1, 1);
            lab.held(1, 1) == 8
        });
        lab.check();
    }
    Ok(())
}

fn following_from_a_base(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = stage.lab(&ClusterSpec::voters(3, mode))?;
        lab.follow(1, 0, 1, 31);
        lab.follow(2, 0, 1, 26);
        lab.lead(0, 1, 31);
        lab.until("both have said where they stand", |lab| {
            lab.acked(0, 1, 1) == 30 && lab.acked(0, 1, 2) == 25
        });
        lab.propose(0, 1, 31..=35);
        lab.until("node 1 has all", |lab| {
            lab.serve(1, 1);
            lab.acked(0, 1, 1) == 35
        });
        assert_eq!(lab.acked(0, 1, 2), 25, "node 2 lacks slots before the window");
        lab.until_quorum(0, 1, 35);
        lab.acknowledge(2, 1, 30);
        lab.until_all(0, 1, 35);
        lab.check();
    }
    Ok(())
}
