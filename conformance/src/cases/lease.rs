//! Invariant 11: whoever has stopped polling stops acknowledging within the lease.

use std::task::Context;
use std::time::Duration;

use electrode_transport::{AckMode, Counter, LogBatch};

use super::MODES;
use crate::case::Stage;
use crate::harness::SetupError;
use crate::lab::{Bell, Lab};
use crate::spec::ClusterSpec;

cases! { LivenessLease, "liveness-lease";
    "silent-library-stops-acknowledging", FastAck, [RECEIVED], silent_library,
        "A member whose library has stopped polling acknowledges nothing once the lease has run out, and goes on when it polls again.";
    "lapsed-member-confirms-nothing", FastAck, [RECEIVED PERSISTED], lapsed_probe,
        "A lapsed member confirms no leadership and stores nothing.";
    "polling-renews", FastAck, [RECEIVED], polling_renews,
        "Every poll renews the lease.";
    "waiting-renews", FastAck, [RECEIVED PERSISTED], waiting_renews,
        "A task that waits for the log is woken in time to renew the lease, on an idle group too.";
    "waiting-before-following", FastAck, [RECEIVED], waiting_before_following,
        "So is one that began to wait before its member followed.";
    "dropped-wait-does-not-renew", FastAck, [RECEIVED], dropped_wait,
        "A wait that was dropped, or whose task hangs, keeps no lease alive.";
    "both-followers-silent", FastAck, [RECEIVED], both_silent,
        "With the libraries of all followers silent nothing more is committed.";
}

const LEASE: Duration = Duration::from_millis(80);

fn leased(stage: &Stage<'_>, mode: AckMode) -> Result<Lab, SetupError> {
    stage.lab(&ClusterSpec { lease: LEASE, ..ClusterSpec::voters(3, mode) })
}

fn silent_library(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = leased(stage, AckMode::Received)?;
    lab.elect(0, 1, 1);
    lab.propose(0, 1, 1..=1);
    lab.until("it acknowledges within the lease", |lab| lab.acked(0, 1, 1) == 1);
    lab.advance(LEASE);
    lab.propose(0, 1, 2..=2);
    lab.until("its lease is found lapsed", |lab| lab.count(1, Counter::RxLapsed) > 1);
    lab.throughout(LEASE, "a silent library acknowledges nothing", |lab| lab.acked(0, 1, 1) == 1);
    lab.until("polling brings it back", |lab| {
        lab.poll(1);
        lab.acked(0, 1, 1) == 2
    });
    lab.check();
    Ok(())
}

fn lapsed_probe(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = leased(stage, mode)?;
        lab.elect(0, 1, 1);
        let probe = lab.probe(0, 1);
        lab.until("it is confirmed within the lease", |lab| lab.confirmed(0, probe));
        lab.advance(LEASE);
        let probe = lab.probe(0, 1);
        lab.propose(0, 1, 1..=1);
        lab.throughout(LEASE, "lapsed members confirm nothing", |lab| !lab.confirmed(0, probe));
        assert_eq!(lab.count(1, Counter::RxStored), 0, "nor store");
        lab.until("polling brings the answer", |lab| {
            lab.poll(1);
            lab.confirmed(0, probe)
        });
        lab.check();
    }
    Ok(())
}

fn polling_renews(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = leased(stage, AckMode::Received)?;
    lab.elect(0, 1, 1);
    let end = lab.now() + 3 * LEASE;
    while lab.now() < end {
        lab.poll(1);
        lab.advance(LEASE / 16);
    }
    lab.propose(0, 1, 1..=1);
    lab.until("it acknowledges", |lab| lab.acked(0, 1, 1) == 1);
    assert_eq!(lab.count(1, Counter::RxLapsed), 0, "its lease never lapsed");
    lab.check();
    Ok(())
}

/// A task that waits for node 1's log: polled once, and then whenever its bell rings.
struct Task {
    batch: LogBatch,
    bell: std::sync::Arc<Bell>,
    waker: std::task::Waker,
    seen: usize,
}

impl Task {
    fn start(lab: &mut Lab) -> Self {
        let (bell, waker) = Bell::new();
        let mut task = Self { batch: LogBatch::default(), bell, waker, seen: 0 };
        task.poll(lab);
        task
    }

    fn poll(&mut self, lab: &mut Lab) {
        let mut cx = Context::from_waker(&self.waker);
        while let std::task::Poll::Ready(polled) =
            lab.node(1).poll_log_ready(&mut cx, &mut self.batch)
        {
            polled.expect("the group is open");
            for entry in self.batch.iter() {
                lab.ledger.yielded((1, lab.group), &entry);
            }
        }
    }

    fn run(&mut self, lab: &mut Lab) {
        let rings = self.bell.rings();
        if rings > self.seen {
            self.seen = rings;
            self.poll(lab);
        }
    }
}

fn wait_through_leases(lab: &mut Lab, task: &mut Task) {
    let end = lab.now() + 4 * LEASE;
    while lab.now() < end {
        task.run(lab);
        lab.advance(Duration::from_millis(1));
    }
    task.run(lab);
}

fn waiting_renews(stage: &Stage<'_>) -> Result<(), SetupError> {
    for mode in MODES {
        let mut lab = leased(stage, mode)?;
        lab.elect(0, 1, 1);
        let mut task = Task::start(&mut lab);
        wait_through_leases(&mut lab, &mut task);
        assert!(task.seen >= 4, "it was woken every half lease, {} times in all", task.seen);
        lab.propose(0, 1, 1..=1);
        lab.until("the first frame is stored", |lab| lab.count(1, Counter::RxStored) == 1);
        assert_eq!(lab.count(1, Counter::RxLapsed), 0, "its lease never lapsed");
        task.poll(&mut lab);
        lab.check();
    }
    Ok(())
}

fn waiting_before_following(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = leased(stage, AckMode::Received)?;
    let mut task = Task::start(&mut lab);
    lab.advance_ms(5);
    lab.follow(1, 0, 1, 1);
    wait_through_leases(&mut lab, &mut task);
    lab.lead(0, 1, 1);
    lab.propose(0, 1, 1..=1);
    lab.until("the first frame is stored", |lab| lab.count(1, Counter::RxStored) == 1);
    assert_eq!(lab.count(1, Counter::RxLapsed), 0, "its lease never lapsed");
    task.poll(&mut lab);
    lab.check();
    Ok(())
}

fn dropped_wait(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = leased(stage, AckMode::Received)?;
    lab.elect(0, 1, 1);
    let task = Task::start(&mut lab);
    // The task hangs from here on: it is woken and does not poll.
    lab.advance(2 * LEASE);
    assert!(task.bell.rings() > 0, "it was called");
    let probe = lab.probe(0, 1);
    lab.propose(0, 1, 1..=1);
    lab.throughout(LEASE, "nothing is acknowledged for it", |lab| {
        lab.acked(0, 1, 1) == 0 && !lab.confirmed(0, probe)
    });
    lab.poll(1);
    lab.check();
    Ok(())
}

fn both_silent(stage: &Stage<'_>) -> Result<(), SetupError> {
    let mut lab = leased(stage, AckMode::Received)?;
    lab.elect(0, 1, 1);
    let mut slot = 0;
    let start = lab.now();
    let mut last_commit = start;
    while lab.now() < start + 3 * LEASE {
        let quorum = lab.quorum(0, 1);
        if quorum == slot {
            slot += 1;
            last_commit = lab.now();
            lab.propose(0, 1, slot..=slot);
        }
        lab.advance(Duration::from_millis(1));
    }
    let after = last_commit.saturating_sub(start);
    assert!(slot > 3, "within the lease all goes well");
    // A datagram that arrived within the lease may be counted a moment after it.
    assert!(after < LEASE + LEASE / 4, "commits went on for {after:?}");
    lab.check();
    Ok(())
}
