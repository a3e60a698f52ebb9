//! The members: how they are opened, and what a process does that is to die.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use electrode_backend_ebpf::{EbpfEndpoint, EbpfOptions, Hook};
use electrode_conformance::testbed::Host;
use electrode_transport::{
    AckMode, Ballot, ClusterId, EndpointConfig, GroupConfig, GroupId, Incarnation, LogBatch,
    Member, Membership, NodeId, QuorumRule, QuorumTransport, Result, Slot, TransportError,
};

use crate::journal::Journal;

pub(crate) const PORT: u16 = 7_400;
pub(crate) const GROUP: GroupId = GroupId(5);
pub(crate) const LEADER: NodeId = NodeId(1);
pub(crate) const FOLLOWER: NodeId = NodeId(2);
pub(crate) const LEASE: Duration = Duration::from_millis(150);

const ROLE: &str = "ELECTRODE_PINNED_ROLE";

/// What a process is told, by words in its environment.
#[derive(Clone, Debug)]
pub(crate) struct Role {
    pub(crate) what: String,
    /// Where to pin; empty for nowhere.
    pub(crate) folder: String,
    pub(crate) members: [SocketAddr; 2],
    pub(crate) journal: String,
    pub(crate) life: u64,
    pub(crate) ballot: u64,
    pub(crate) next: u64,
}

impl Role {
    fn encode(&self) -> String {
        let Self { what, folder, members: [a, b], journal, life, ballot, next } = self;
        format!("{what}|{folder}|{a}|{b}|{journal}|{life}|{ballot}|{next}")
    }

    /// Starts it on a host.
    pub(crate) fn start(&self, host: &Host) -> Process {
        let mut command = host.command(std::env::current_exe().unwrap()).unwrap();
        command.env(ROLE, self.encode()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Process { child, lines }
    }
}

/// The role of this process, if it has one.
pub(crate) fn role() -> Option<Role> {
    let text = std::env::var(ROLE).ok()?;
    let words: Vec<&str> = text.split('|').collect();
    let [what, folder, a, b, journal, life, ballot, next] = words.try_into().unwrap();
    Some(Role {
        what: what.to_owned(),
        folder: folder.to_owned(),
        members: [a.parse().unwrap(), b.parse().unwrap()],
        journal: journal.to_owned(),
        life: life.parse().unwrap(),
        ballot: ballot.parse().unwrap(),
        next: next.parse().unwrap(),
    })
}

/// A process that is to die.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Process {
    /// What it says next; nothing if it has died.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Kills it as by `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn membership(members: [SocketAddr; 2]) -> Membership {
    let [leader, follower] = members;
    let members = [Member::voter(LEADER, leader), Member::voter(FOLLOWER, follower)];
    Membership::new(Incarnation(1), members, QuorumRule::Majority).unwrap()
}

pub(crate) fn group(members: [SocketAddr; 2]) -> GroupConfig {
    let mut config = GroupConfig::new(GROUP, membership(members));
    config.mode = AckMode::Received;
    config.lease = LEASE;
    config.log_bytes = 1 << 20;
    config
}

pub(crate) fn endpoint(node: NodeId, address: SocketAddr) -> EndpointConfig {
    EndpointConfig::new(ClusterId(9), node, address)
}

pub(crate) fn options(folder: Option<&Path>) -> EbpfOptions {
    let mut options = EbpfOptions::default();
    options.log_bytes = 1 << 20;
    options.hook = Hook::Tc.into();
    options.pin = folder.map(Path::to_owned);
    options
}

/// Does what the role says, until it is killed.
pub(crate) fn play(role: &Role) -> ExitCode {
    match perform(role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error}");
            eprintln!("a member failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(role: &Role) -> Result<()> {
    let folder = (!role.folder.is_empty()).then(|| PathBuf::from(&role.folder));
    let node = if role.what == "lead" { LEADER } else { FOLLOWER };
    let address = role.members[usize::from(node == FOLLOWER)];
    let endpoint = EbpfEndpoint::bind(endpoint(node, address), options(folder.as_deref()))?;
    let transport = endpoint.join(group(role.members))?;
    match role.what.as_str() {
        "follow" => follow(role, &endpoint, &transport),
        "lead" => lead(role, &endpoint, &transport),
        "brief" => {
            say("up");
            endpoint.close();
            say("closed");
            Ok(())
        }
        other => panic!("no role is called {other}"),
    }
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().unwrap();
}

/// A follower as a library has it: it stores what it is handed, and only then polls again.
fn follow(
    role: &Role,
    endpoint: &EbpfEndpoint,
    transport: &Arc<dyn QuorumTransport>,
) -> Result<()> {
    let mut journal = Journal::open(&PathBuf::from(&role.journal), role.life);
    let fenced = transport.fence(Ballot(role.ballot))?;
    journal.store(&fenced.entries);
    let mut batch = LogBatch::default();
    transport.try_poll_log(&mut batch)?;
    if batch.status().ballot == Ballot(role.ballot) {
        journal.store(&batch);
    } else {
        assert!(batch.is_empty(), "the fence hands over everything of a ballot that ends");
        // The leader's log before its first frame is the common one.
        if role.next != 0 && journal.last() >= Slot(role.next) {
            journal.truncate(Slot(role.next));
        }
        transport.follow(&fenced.token, LEADER, journal.last().next())?;
    }
    say(&format!("ready {}", journal.last().0));
    for round in 0u64.. {
        if transport.try_poll_log(&mut batch)? > 0 {
            // Now and then long enough to die in between.
            pause(round.is_multiple_of(7));
            journal.store(&batch);
            pause(round.is_multiple_of(5));
        } else {
            endpoint.wait(Duration::from_millis(5))?;
        }
    }
    Ok(())
}

fn pause(here: bool) {
    if here {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A leader that says which ballots it may lead.
fn lead(role: &Role, endpoint: &EbpfEndpoint, transport: &Arc<dyn QuorumTransport>) -> Result<()> {
    for ballot in role.ballot.. {
        let fenced = transport.fence(Ballot(ballot))?;
        match transport.lead(&fenced.token, Slot(role.next)) {
            Ok(()) => {
                say(&format!("led {ballot}"));
                break;
            }
            Err(TransportError::LeaderConflict { .. }) => say(&format!("refused {ballot}")),
            Err(error) => return Err(error),
        }
    }
    loop {
        endpoint.wait(Duration::from_millis(5))?;
    }
}
