//! Three replicas as processes of their own, and that none of them is left behind.

use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::client;
use crate::config::{Backend, Mode};
use crate::demo::place::Place;
use crate::demo::{fail, interrupted};
use crate::error::{Error, Result};
use crate::protocol::Status;

/// One replica's process and addresses.
pub(super) struct Node {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    pub(super) client: SocketAddr,
    child: Option<Child>,
}

impl Node {
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }
}

/// The replicas. Dropping it kills and reaps every process that it started. Should this process be
/// killed itself, the replicas see their standard input end and exit.
pub(super) struct Cluster<'a> {
    place: &'a Place,
    directory: PathBuf,
    mode: Mode,
    backend: Backend,
    pub(super) nodes: Vec<Node>,
}

/// For an election, a start, or a catch-up; each takes well under a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// Ports that were free may be taken by the time a replica binds them.
const ATTEMPTS: u32 = 5;

impl<'a> Cluster<'a> {
    /// Starts the replicas with their data in `directory`.
    pub(super) fn start(
        place: &'a Place,
        directory: &Path,
        mode: Mode,
        backend: Backend,
    ) -> Result<Self> {
        let mut attempt = 1;
        loop {
            let nodes = (1..).zip(place.addresses()?);
            let nodes = nodes.map(|(id, (peer, client))| Node { id, peer, client, child: None });
            let nodes = nodes.collect();
            let directory = directory.to_path_buf();
            let mut cluster = Self { place, directory, mode, backend, nodes };
            cluster.write_config()?;
            let ids: Vec<u64> = cluster.nodes.iter().map(|node| node.id).collect();
            let started = ids.into_iter().try_for_each(|id| {
                cluster.spawn(id)?;
                cluster.await_status(id).map(drop)
            });
            match started {
                Ok(()) => return Ok(cluster),
                Err(Error::Demo { why }) if why.contains("in use") && attempt < ATTEMPTS => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn write_config(&self) -> Result<()> {
        let mut text = String::from("# Written by `electrode-kv demo`.\ncluster = 1\n");
        let _infallible = writeln!(text, "mode = \"{}\"", self.mode);
        let _infallible = writeln!(text, "backend = \"{}\"", self.backend);
        for node in &self.nodes {
            let Node { id, peer, client, .. } = node;
            let _infallible = write!(
                text,
                "\n[[members]]\nid = {id}\npeer = \"{peer}\"\nclient = \"{client}\"\n"
            );
        }
        let path = self.directory.join("cluster.toml");
        std::fs::write(&path, text).map_err(file_fault("write", &path))
    }

    fn node(&mut self, id: u64) -> Result<&mut Node> {
        let node = self.nodes.iter_mut().find(|node| node.id == id);
        node.ok_or_else(|| fail(format!("there is no node {id}")))
    }

    fn log_path(&self, id: u64) -> PathBuf {
        self.directory.join(format!("node-{id}.log"))
    }

    /// Starts one replica's process.
    pub(super) fn spawn(&mut self, id: u64) -> Result<()> {
        let program = std::env::current_exe()
            .map_err(file_fault("find", Path::new("this program's own executable")))?;
        let log_path = self.log_path(id);
        let log = File::options().create(true).append(true).open(&log_path);
        let log = log.map_err(file_fault("open", &log_path))?;
        let mut command = self.place.command(id, program.as_os_str())?;
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ELECTRODE_KV_") {
                command.env_remove(name);
            }
        }
        command.arg("serve").arg("--exit-with-parent");
        command.arg("--config").arg(self.directory.join("cluster.toml"));
        command.arg("--node").arg(id.to_string());
        command.arg("--data-dir").arg(self.directory.join(format!("node-{id}")));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().map_err(file_fault("start", &program))?;
        self.node(id)?.child = Some(child);
        Ok(())
    }

    /// Kills a replica's process with SIGKILL and waits until it is gone.
    pub(super) fn kill(&mut self, id: u64) -> Result<()> {
        let Some(mut child) = self.node(id)?.child.take() else {
            return Err(fail(format!("node {id} does not run")));
        };
        let killed = child.kill().and_then(|()| child.wait());
        killed.map(drop).map_err(file_fault("kill", Path::new("a replica")))
    }

    /// Waits until a replica answers.
    pub(super) fn await_status(&mut self, id: u64) -> Result<Status> {
        let address = self.node(id)?.client;
        self.wait_for(&format!("node {id} to answer"), |cluster| {
            cluster.check_alive(id)?;
            Ok(client::status(address, Duration::from_millis(500)).ok())
        })
    }

    /// Waits until somebody leads and says so.
    pub(super) fn await_leader(&mut self) -> Result<Status> {
        self.wait_for("a leader", |cluster| {
            Ok(cluster.statuses().into_iter().find(|status| status.role == "leader"))
        })
    }

    /// Waits until all replicas have applied the same slots, `at_least` this one, and returns how they
    /// see themselves.
    pub(super) fn await_equal(&mut self, at_least: u64) -> Result<Vec<Status>> {
        self.wait_for("all replicas to have applied the same slots", |cluster| {
            let statuses = cluster.statuses();
            let first = statuses.first().map_or(0, |status| status.applied);
            let equal = statuses.len() == cluster.nodes.len()
                && first >= at_least
                && statuses.iter().all(|status| status.applied == first);
            Ok(equal.then_some(statuses))
        })
    }

    /// Whoever answers.
    fn statuses(&self) -> Vec<Status> {
        let running = self.nodes.iter().filter(|node| node.child.is_some());
        let ask = |node: &Node| client::status(node.client, Duration::from_millis(500)).ok();
        running.filter_map(ask).collect()
    }

    /// A replica that has ended by itself is told with what it said last.
    fn check_alive(&mut self, id: u64) -> Result<()> {
        let path = self.log_path(id);
        let Some(child) = self.node(id)?.child.as_mut() else { return Ok(()) };
        match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let last = log.lines().next_back().unwrap_or("it wrote nothing").to_owned();
                Err(fail(format!("node {id} has ended ({status}): {last}")))
            }
            Err(source) => Err(file_fault("ask after", Path::new("a replica"))(source)),
        }
    }

    fn wait_for<T>(
        &mut self,
        what: &str,
        mut ready: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if interrupted() {
                return Err(Error::Interrupted);
            }
            if let Some(found) = ready(self)? {
                return Ok(found);
            }
            if Instant::now() > deadline {
                let logs = self.directory.display();
                let why = format!("waited {PATIENCE:?} for {what}; see {logs} with --keep");
                return Err(fail(why));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The client addresses, that of `first` in front.
    pub(super) fn servers(&self, first: u64) -> Vec<SocketAddr> {
        let mut nodes: Vec<&Node> = self.nodes.iter().collect();
        nodes.sort_by_key(|node| node.id != first);
        nodes.into_iter().map(|node| node.client).collect()
    }

    /// Which replica serves clients there.
    pub(super) fn id_at(&self, client: SocketAddr) -> Option<u64> {
        self.nodes.iter().find(|node| node.client == client).map(|node| node.id)
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            // It may have ended already; it is reaped either way.
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

pub(super) fn file_fault(operation: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::File { operation, path: path.clone(), source }
}
