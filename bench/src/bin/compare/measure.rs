//! One run of one program: start the followers, run the leader, read what it says and what it cost.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::topology::Topology;

const PORT: u16 = 10_001;

/// Whose figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    /// The raw C program.
    Yardstick,
    /// The socket backend, acknowledging what lies in memory.
    Received,
    /// The socket backend, acknowledging when told so, which is at once.
    Persisted,
}

/// How the leader waits, and for how many proposals at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) spin: bool,
    pub(crate) window: u64,
    pub(crate) operations: u64,
}

impl Setting {
    pub(crate) const fn mode(&self) -> &'static str {
        if self.spin { "spin" } else { "block" }
    }
}

/// What a leader prints, and what the machine spent on it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Figures {
    pub(crate) ops_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) lost: u64,
    /// CPU of the whole machine, softirq included, for each operation.
    #[serde(default)]
    pub(crate) cpu_us_per_op: f64,
}

/// The programs to run.
pub(crate) struct Programs {
    pub(crate) yardstick: PathBuf,
    pub(crate) propose: PathBuf,
}

impl Programs {
    /// Compiles the yardstick into `folder` and finds `propose` beside this program.
    pub(crate) fn prepare(folder: &Path) -> io::Result<Self> {
        let propose = std::env::current_exe()?.with_file_name("propose");
        if !propose.exists() {
            return Err(io::Error::other(
                "there is no `propose` beside this program: cargo build --release -p electrode-bench",
            ));
        }
        let yardstick = folder.join("sockets");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("yardstick/sockets.c");
        let output =
            Command::new("cc").arg("-O2").arg("-o").arg(&yardstick).arg(source).output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(Self { yardstick, propose })
    }
}

/// Children that end with this value.
struct Followers(Vec<Child>);

impl Drop for Followers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs one subject once.
pub(crate) fn run(
    topology: &Topology,
    programs: &Programs,
    subject: Subject,
    setting: &Setting,
    followers: u8,
) -> io::Result<Figures> {
    let mut running = Followers(Vec::new());
    for index in 1..=followers {
        let child = command(topology, programs, subject, setting, index, followers)
            .stdout(Stdio::null())
            .spawn()?;
        running.0.push(child);
    }
    for index in 1..=followers {
        until_bound(topology, index)?;
    }
    let before = busy_us()?;
    let output = command(topology, programs, subject, setting, 0, followers)
        .stderr(Stdio::inherit())
        .output()?;
    let spent = busy_us()? - before;
    if !output.status.success() {
        return Err(io::Error::other(format!(
            "the {subject:?} leader ended with {}",
            output.status
        )));
    }
    let mut figures: Figures = serde_json::from_slice(&output.stdout)?;
    figures.cpu_us_per_op = spent / setting.operations as f64;
    Ok(figures)
}

fn command(
    topology: &Topology,
    programs: &Programs,
    subject: Subject,
    setting: &Setting,
    index: u8,
    followers: u8,
) -> Command {
    let (operations, window) = (setting.operations.to_string(), setting.window.to_string());
    if subject == Subject::Yardstick {
        let mut command = topology.on(index, &programs.yardstick);
        if index > 0 {
            command.args(["follower", &PORT.to_string()]);
        } else {
            command.args(["leader", setting.mode(), &PORT.to_string(), &operations, &window]);
            command.args((1..=followers).map(|index| Topology::address(index).to_string()));
        }
        return command;
    }
    let members: Vec<_> =
        (0..=followers).map(|index| format!("{}:{PORT}", Topology::address(index))).collect();
    let ack = if subject == Subject::Received { "received" } else { "persisted" };
    let mut command = topology.on(index, &programs.propose);
    command.args(["--members", &members.join(","), "--index", &index.to_string(), "--ack", ack]);
    command.args(["--mode", setting.mode(), "--window", &window, "--operations", &operations]);
    command
}

/// Waits until a follower's socket is there.
fn until_bound(topology: &Topology, index: u8) -> io::Result<()> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let table = topology.on(index, "cat").arg("/proc/net/udp").output()?.stdout;
        if String::from_utf8_lossy(&table).contains(&format!(":{PORT:04X} ")) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(io::Error::other(format!("follower {index} did not bind its port")))
}

/// Microseconds that all CPUs together have been busy: user, nice, system, irq, softirq (proc(5)).
fn busy_us() -> io::Result<f64> {
    // The kernel reports in hundredths of a second on every architecture (USER_HZ).
    const TICK_US: f64 = 10_000.0;
    let stat = fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .into_iter()
        .flat_map(str::split_whitespace)
        .filter_map(|field| field.parse().ok())
        .collect();
    match fields[..] {
        [user, nice, system, _idle, _iowait, irq, softirq, ..] => {
            Ok((user + nice + system + irq + softirq) * TICK_US)
        }
        _ => Err(io::Error::other("/proc/stat has no line for all CPUs")),
    }
}
