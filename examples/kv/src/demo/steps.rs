//! The demonstration step by step, and what it says of each.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::check::{Expectation, Verdict};
use super::cluster::Cluster;
use super::place::Place;
use super::{INTERRUPTED, fail};
use crate::cli::DemoArgs;
use crate::client::{self, Client, Job, Options};
use crate::command::{Answer, Query, Row, Stored};
use crate::config::{Backend, Mode};
use crate::error::{Error, Result};
use crate::load::{bar, put_all};
use crate::measure::{Figures, Measure};
use crate::protocol::{RequestBody, ResponseBody};
use crate::records::Record;

/// How long a request may go unanswered; a fail-over takes well under a second.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Rows fetched at a time when reading everything back.
const PAGE_ROWS: u32 = 1_000;

/// What an acknowledgement promises, for a newcomer.
pub(super) const fn promise_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Persisted => "persisted: acknowledged once a majority of the replicas has it on disk",
        Mode::Received => "received: acknowledged once a majority of the replicas has it in memory",
    }
}

/// A running demonstration.
pub(super) struct Demo<'a> {
    cluster: Cluster<'a>,
    records: Vec<Record>,
    expected: Expectation,
    outstanding: usize,
    leader: u64,
    backend: String,
    table: Vec<(&'static str, Figures)>,
}

/// What the second load saw.
struct FailOver {
    killed: u64,
    successor: u64,
    acknowledged_before: usize,
    took: Duration,
    resent: u64,
}

impl<'a> Demo<'a> {
    /// Starts the replicas and waits for a leader.
    pub(super) fn start(
        place: &'a Place,
        args: &DemoArgs,
        backend: Backend,
        directory: &Path,
        records: Vec<Record>,
    ) -> Result<Self> {
        println!("\n1. Three replicas, {}", place.description());
        let began = Instant::now();
        let mut cluster = Cluster::start(place, directory, args.mode, backend)?;
        for node in &cluster.nodes {
            println!(
                "   node {}: pid {}, replicas at {} (UDP), clients at {} (TCP)",
                node.id,
                node.pid().unwrap_or_default(),
                node.peer,
                node.client
            );
        }
        let leader = cluster.await_leader()?;
        println!("   backend {}: {}", leader.backend, leader.backend_why);
        if leader.backend == "ebpf" && args.mode == Mode::Persisted {
            println!(
                "   (the kernel broadcasts and counts; an acknowledgement waits for the disk)"
            );
        }
        println!(
            "   node {} was elected leader at ballot {}, {} after the start",
            leader.node,
            leader.ballot,
            millis(began.elapsed())
        );
        let (expected, table) = (Expectation::default(), Vec::new());
        let outstanding = args.outstanding.into();
        let (leader, backend) = (leader.node, leader.backend);
        Ok(Self { cluster, records, expected, outstanding, leader, backend, table })
    }

    /// The backend that the first leader had.
    pub(super) fn backend(&self) -> &str {
        &self.backend
    }

    /// Goes through all steps and returns what was measured.
    pub(super) fn run(&mut self) -> Result<Vec<(&'static str, Figures)>> {
        self.load()?;
        self.read_back()?;
        let fail_over = self.load_and_kill()?;
        self.check_every_write(&fail_over)?;
        self.restart(&fail_over)?;
        Ok(std::mem::take(&mut self.table))
    }

    fn client(&self) -> Client {
        Client::new(Options {
            servers: self.cluster.servers(self.leader),
            timeout: TIMEOUT,
            outstanding: self.outstanding,
            stop: Some(&INTERRUPTED),
        })
    }

    fn load(&mut self) -> Result<()> {
        println!("\n2. Load every record, {} writes under way at once", self.outstanding);
        let bar = bar(self.records.len() as u64);
        let loaded = put_all(&mut self.client(), &self.records, &mut |_| {
            bar.inc(1);
            Ok(())
        });
        bar.finish_and_clear();
        let figures = loaded?;
        self.expected.load(&self.records);
        println!(
            "   {} writes acknowledged in {:.2} s: {:.0} a second",
            figures.count,
            figures.took.as_secs_f64(),
            figures.rate()
        );
        self.table.push(("puts", figures));
        Ok(())
    }

    fn read_back(&mut self) -> Result<()> {
        let other = self.cluster.nodes.iter().find(|node| node.id != self.leader);
        let (id, address) =
            other.map(|node| (node.id, node.client)).ok_or_else(|| fail("no other replica"))?;
        println!("\n3. Read everything back through node {id}, which does not lead");
        println!(
            "   The leader confirms with a majority that it still leads and names its newest slot;"
        );
        println!(
            "   node {id} answers from its own state once that contains the slot. So the read is"
        );
        println!("   as fresh as one from the leader.");
        let fresh = self.client().one(Job::Read(Query::Summary.encode()))?.slot;
        let rows = scan_here(address, fresh)?;
        let verdict = self.expected.check(rows.iter().map(|(key, stored)| (key, stored)));
        println!("   {} of {} keys are as they were written", verdict.right, self.expected.len());
        self.require(verdict)
    }

    fn load_and_kill(&mut self) -> Result<FailOver> {
        println!("\n4. Load everything again, each value reversed, and kill the leader half-way");
        for record in &mut self.records {
            record.value.reverse();
        }
        let mut client = self.client();
        let bar = bar(self.records.len() as u64);
        let half = self.records.len() / 2;
        let cluster = &mut self.cluster;
        let (mut count, mut kill, mut fail_over) = (0, None, None);
        let loaded = put_all(&mut client, &self.records, &mut |acknowledged| {
            bar.inc(1);
            count += 1;
            match kill {
                None if count > half => {
                    let id = cluster.id_at(acknowledged.from);
                    let id = id.ok_or_else(|| fail("an unknown replica answered"))?;
                    kill = Some((id, acknowledged.from, Instant::now(), count));
                    bar.set_message(format!("killing node {id}"));
                    cluster.kill(id)?;
                }
                // What the killed leader had sent before it died may still come in.
                Some((killed, dead, at, before))
                    if fail_over.is_none() && acknowledged.from != dead =>
                {
                    let successor = cluster.id_at(acknowledged.from).unwrap_or_default();
                    fail_over = Some((killed, successor, before, at.elapsed()));
                    bar.set_message(format!("node {successor} has taken over"));
                }
                _ => {}
            }
            Ok(())
        });
        bar.finish_and_clear();
        let figures = loaded?;
        self.expected.load(&self.records);
        let (killed, successor, acknowledged_before, took) = fail_over.ok_or_else(|| {
            fail("the file is too short: nothing was left to write after the kill")
        })?;
        self.leader = successor;
        self.table.push(("puts, leader killed half-way", figures));
        let fail_over =
            FailOver { killed, successor, acknowledged_before, took, resent: client.resent() };
        println!(
            "   node {} was killed with SIGKILL after {} acknowledged writes",
            fail_over.killed, fail_over.acknowledged_before
        );
        println!(
            "   fail-over: node {} acknowledged the first write {} after the kill",
            fail_over.successor,
            millis(fail_over.took)
        );
        println!(
            "   {} writes were under way and had to be sent again, under the same session and number;",
            fail_over.resent
        );
        println!(
            "   {} of them had been executed already and were only answered",
            self.repeats(successor)?
        );
        Ok(fail_over)
    }

    fn check_every_write(&mut self, fail_over: &FailOver) -> Result<()> {
        println!("\n5. Was an acknowledged write lost, or a repeated one applied twice?");
        println!("   Every key counts the writes applied to it, on every replica. Each record was");
        println!(
            "   acknowledged once in each of the two loads, so a key's count must be twice its"
        );
        println!(
            "   lines in the file: less is a lost write, more a write applied twice. The value"
        );
        println!("   must be the second load's.");
        let mut client = self.client();
        let mut found: Vec<(Vec<u8>, Option<Stored>)> =
            self.expected.keys().map(|key| (key.clone(), None)).collect();
        let queries: Vec<Vec<u8>> =
            found.iter().map(|(key, _)| Query::Get { key: key.clone() }.encode()).collect();
        let mut rest = queries.into_iter();
        let mut measure = Measure::start();
        client.run(&mut || Ok(rest.next().map(Job::Read)), &mut |done| {
            measure.note(done.latency);
            let Answer::Value(stored) = done.answer else {
                return Err(fail(format!("a get was answered with {:?}", done.answer)));
            };
            found[done.job].1 = stored;
            Ok(())
        })?;
        self.table.push(("gets, linearizable", measure.finish()));
        let rows = found.iter().filter_map(|(key, stored)| Some((key, stored.as_ref()?)));
        let verdict = self.expected.check(rows);
        println!("   checked {} keys at node {}:", found.len(), fail_over.successor);
        println!("   {:>7} right", verdict.right);
        println!("   {:>7} lost", verdict.lost);
        println!("   {:>7} applied twice", verdict.doubled);
        println!("   {:>7} with another value", verdict.wrong);
        self.require(verdict)
    }

    fn restart(&mut self, fail_over: &FailOver) -> Result<()> {
        let id = fail_over.killed;
        println!("\n6. Start node {id} again from what it left, and wait until it has caught up");
        let newest = self.client().one(Job::Read(Query::Summary.encode()))?.slot;
        let began = Instant::now();
        self.cluster.spawn(id)?;
        self.cluster.await_status(id)?;
        let statuses = self.cluster.await_equal(newest)?;
        println!("   caught up {} after its start", millis(began.elapsed()));
        for status in &statuses {
            println!(
                "   node {}: {:<8} applied {} slots, {} keys, {} writes, digest {:016x}",
                status.node, status.role, status.applied, status.keys, status.writes, status.digest
            );
        }
        let digests: Vec<u64> = statuses.iter().map(|status| status.digest).collect();
        if digests.iter().any(|digest| *digest != digests[0]) {
            return Err(fail("the replicas have applied the same slots and differ"));
        }
        let rows = scan_here(self.address(id)?, newest)?;
        self.require(self.expected.check(rows.iter().map(|(key, stored)| (key, stored))))?;
        println!("   all three hold the same, and node {id} every write");
        Ok(())
    }

    /// How many commands a replica has answered from its session table instead of executing again.
    fn repeats(&self, id: u64) -> Result<u64> {
        Ok(client::status(self.address(id)?, TIMEOUT)?.repeats)
    }

    fn address(&self, id: u64) -> Result<SocketAddr> {
        let node = self.cluster.nodes.iter().find(|node| node.id == id);
        node.map(|node| node.client).ok_or_else(|| fail(format!("there is no node {id}")))
    }

    fn require(&self, verdict: Verdict) -> Result<()> {
        if verdict.is_good() { Ok(()) } else { Err(fail(format!("{verdict:?}"))) }
    }
}

/// Everything that one replica holds once it has applied `at_least`.
fn scan_here(server: SocketAddr, at_least: u64) -> Result<Vec<Row>> {
    let mut all: Vec<Row> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.clone());
        let query = Query::Scan { prefix: Vec::new(), after, rows_max: PAGE_ROWS }.encode();
        let answer = match client::ask(server, RequestBody::ReadHere { at_least, query }, TIMEOUT)?
        {
            ResponseBody::Answer { answer, .. } => Answer::decode(&answer)?,
            other => return Err(Error::Refused { why: format!("{other:?}") }),
        };
        let Answer::Page { rows, more } = answer else {
            return Err(fail(format!("a scan was answered with {answer:?}")));
        };
        all.extend(rows);
        if !more {
            return Ok(all);
        }
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1e3)
}
