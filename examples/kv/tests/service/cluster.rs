//! Replicas of a test as processes, and the binary's other subcommands against them.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The binary with nothing of the caller's environment that would configure it.
pub(crate) fn kv() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_electrode-kv"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ELECTRODE_KV_") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits for something, and fails the test if it does not come.
pub(crate) fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process is there: not gone and not only waiting to be reaped.
pub(crate) fn is_running(pid: u32) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = out(&state);
    !state.trim().is_empty() && !state.trim_start().starts_with('Z')
}

pub(crate) fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill {name} {pid}");
}

/// Addresses that are free now.
pub(crate) fn free_addresses(count: usize) -> Vec<(SocketAddr, SocketAddr)> {
    let held: Vec<_> = (0..count)
        .map(|_| {
            (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap())
        })
        .collect();
    held.iter()
        .map(|(peer, client)| (peer.local_addr().unwrap(), client.local_addr().unwrap()))
        .collect()
}

/// One line of `status`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub(crate) node: usize,
    pub(crate) role: String,
    pub(crate) applied: u64,
    pub(crate) digest: String,
}

/// Three replicas. Dropping it kills and reaps them.
pub(crate) struct Cluster {
    pub(crate) directory: TempDir,
    pub(crate) addresses: Vec<(SocketAddr, SocketAddr)>,
    children: Vec<Option<Child>>,
}

impl Cluster {
    pub(crate) fn start(mode: &str) -> Self {
        // Ports that were free may be taken by another test before they are bound.
        for _ in 0..5 {
            let mut cluster = Self::prepare(mode);
            (1..=3).for_each(|node| cluster.spawn(node));
            let started = wait_for("the replicas to answer or to end", || {
                if (1..=3).any(|node| cluster.has_ended(node)) {
                    return Some(false);
                }
                (cluster.status().len() == 3).then_some(true)
            });
            if started {
                cluster.leader();
                return cluster;
            }
            let logs: Vec<_> = (1..=3).map(|node| cluster.log(node)).collect();
            assert!(logs.iter().any(|log| log.contains("in use")), "{logs:#?}");
        }
        panic!("no free ports in five attempts");
    }

    pub(crate) fn prepare(mode: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let addresses = free_addresses(3);
        let mut text = format!("cluster = 5\nmode = \"{mode}\"\n");
        for (index, (peer, client)) in addresses.iter().enumerate() {
            let id = index + 1;
            text += &format!("[[members]]\nid = {id}\npeer = \"{peer}\"\nclient = \"{client}\"\n");
        }
        fs::write(directory.path().join("cluster.toml"), text).unwrap();
        Self { directory, addresses, children: vec![None, None, None] }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.directory.path().join("cluster.toml")
    }

    pub(crate) fn data_dir(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("node-{node}"))
    }

    pub(crate) fn log(&self, node: usize) -> String {
        fs::read_to_string(self.directory.path().join(format!("{node}.log"))).unwrap_or_default()
    }

    /// `serve` for a node, its arguments complete but for what a test adds.
    pub(crate) fn serve(&self, node: usize) -> Command {
        let mut command = kv();
        command.args(["serve", "--exit-with-parent", "--config"]).arg(self.config());
        command.args(["--node", &node.to_string(), "--data-dir"]).arg(self.data_dir(node));
        command.stdin(Stdio::piped());
        command
    }

    pub(crate) fn spawn(&mut self, node: usize) {
        let path = self.directory.path().join(format!("{node}.log"));
        let log = File::options().create(true).append(true).open(path).unwrap();
        let child = self.serve(node).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.children[node - 1] = Some(child);
    }

    fn has_ended(&mut self, node: usize) -> bool {
        let child = self.children[node - 1].as_mut();
        child.is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// SIGKILL to all of these before any is waited for.
    pub(crate) fn kill(&mut self, nodes: &[usize]) {
        let mut killed: Vec<Child> =
            nodes.iter().map(|node| self.children[node - 1].take().unwrap()).collect();
        killed.iter_mut().for_each(|child| child.kill().unwrap());
        for child in &mut killed {
            child.wait().unwrap();
        }
    }

    /// A client subcommand.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        run(&self.config(), args)
    }

    pub(crate) fn succeed(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", err(&output));
        out(&output)
    }

    /// What the replicas that answer say.
    pub(crate) fn status(&self) -> Vec<Row> {
        let output = self.run(&["status", "--timeout", "500ms"]);
        out(&output)
            .lines()
            .skip(1)
            .filter_map(|line| {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let [_, node, role, _, _, applied, _, _, digest] = fields[..] else { return None };
                let (node, applied) = (node.parse().ok()?, applied.parse().ok()?);
                Some(Row { node, role: role.into(), applied, digest: digest.into() })
            })
            .collect()
    }

    pub(crate) fn leader(&self) -> usize {
        let leads = || self.status().into_iter().find(|row| row.role == "leader");
        wait_for("a leader", leads).node
    }

    /// Waits until all three have applied the same slots, and checks that they hold the same.
    pub(crate) fn await_equal(&self) -> Vec<Row> {
        let rows = wait_for("equal replicas", || {
            let rows = self.status();
            let equal = rows.len() == 3
                && rows
                    .iter()
                    .all(|row| row.applied == rows[0].applied && row.role != "recovering");
            equal.then_some(rows)
        });
        assert!(rows.iter().all(|row| row.digest == rows[0].digest), "{rows:?}");
        rows
    }
}

pub(crate) fn run(config: &Path, args: &[&str]) -> Output {
    let (subcommand, rest) = args.split_first().unwrap();
    let mut command = kv();
    command.args([*subcommand, "--log", "warn", "--config"]).arg(config);
    command.args(["--timeout", "30s"]);
    if rest.first() == Some(&"--timeout") {
        // The test's own comes instead.
        command = kv();
        command.args([*subcommand, "--log", "warn", "--config"]).arg(config);
    }
    command.args(rest).output().unwrap()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in 1..=3 {
                eprintln!("log of node {node}:\n{}", self.log(node));
            }
        }
        for child in self.children.iter_mut().flatten() {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}
