//! One run of one program: start the followers, run the leader, read what it says and what it cost.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::topology::{Receive, Topology};

const PORT: u16 = 10_001;

/// Whose figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    /// The raw C program over sockets.
    FloorSockets,
    /// The raw C program in the kernel, by TC.
    FloorTc,
    /// The same by generic XDP.
    FloorXdp,
    /// The socket backend in `Received` mode: acknowledged when it lies in memory, as the floors do.
    Socket,
    /// The socket backend in `Persisted` mode, acknowledging when told so, which is at once.
    SocketPersisted,
    /// The eBPF backend by TC, in `Received` mode.
    EbpfTc,
    /// The same by generic XDP.
    EbpfXdp,
    /// By TC, with nothing but the broadcast left to the kernel.
    EbpfBroadcast,
    /// By TC, with nothing but acknowledging.
    EbpfAcknowledge,
    /// By TC, with nothing but counting.
    EbpfQuorum,
}

impl Subject {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(crate) const fn is_floor(self) -> bool {
        matches!(self, Self::FloorSockets | Self::FloorTc | Self::FloorXdp)
    }

    /// Whether it can wait in this way: the floor in the kernel only spins.
    pub(crate) const fn can(self, setting: &Setting) -> bool {
        setting.spin || !matches!(self, Self::FloorTc | Self::FloorXdp)
    }

    /// What `propose` is told; `None` for the C programs.
    fn arguments(self) -> Option<&'static [&'static str]> {
        Some(match self {
            Self::FloorSockets | Self::FloorTc | Self::FloorXdp => return None,
            Self::Socket => &[],
            Self::SocketPersisted => &["--ack", "persisted"],
            Self::EbpfTc => &["--backend", "ebpf"],
            Self::EbpfXdp => &["--backend", "ebpf", "--hook", "xdp-generic"],
            Self::EbpfBroadcast => &["--backend", "ebpf", "--offloads", "broadcast"],
            Self::EbpfAcknowledge => &["--backend", "ebpf", "--offloads", "acknowledge"],
            Self::EbpfQuorum => &["--backend", "ebpf", "--offloads", "quorum"],
        })
    }
}

/// How the leader waits, and for how many proposals at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) members: u8,
    pub(crate) spin: bool,
    pub(crate) receive: Receive,
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
    pub(crate) cpu_us_per_op: f64,
}

/// The programs to run.
pub(crate) struct Programs {
    sockets: PathBuf,
    drive: PathBuf,
    object: PathBuf,
    propose: PathBuf,
}

impl Programs {
    /// Compiles the floors that are wanted into `folder` and finds `propose` beside this program.
    pub(crate) fn prepare(folder: &Path, subjects: &[Subject]) -> io::Result<Self> {
        let propose = std::env::current_exe()?.with_file_name("propose");
        if !propose.exists() {
            return Err(io::Error::other(
                "there is no `propose` beside this program: cargo build --release -p electrode-bench",
            ));
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("yardstick");
        let made = |name: &str| folder.join(name);
        let programs = Self {
            sockets: made("sockets"),
            drive: made("drive"),
            object: made("kern.o"),
            propose,
        };
        if subjects.contains(&Subject::FloorSockets) {
            build("cc", &["-O2"], &source.join("sockets.c"), &programs.sockets)?;
        }
        if subjects.iter().any(|subject| matches!(subject, Subject::FloorTc | Subject::FloorXdp)) {
            build("cc", &["-O2", "-lbpf"], &source.join("drive.c"), &programs.drive)?;
            let clang = ["clang-19", "clang"].into_iter().find(|clang| {
                Command::new(clang).arg("--version").output().is_ok_and(|it| it.status.success())
            });
            let include = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
            let flags = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-c", &include];
            build(clang.unwrap_or("clang"), &flags, &source.join("kern.c"), &programs.object)?;
        }
        Ok(programs)
    }
}

fn build(compiler: &str, flags: &[&str], source: &Path, to: &Path) -> io::Result<()> {
    let mut command = Command::new(compiler);
    // Libraries come after what needs them.
    let output = command.arg(source).arg("-o").arg(to).args(flags).output();
    let why = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    Err(io::Error::other(format!(
        "the floor {} was not built by {compiler}: {why}\n(it needs gcc, clang and libbpf-dev; \
         --subjects leaves floors out)",
        source.display()
    )))
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
) -> io::Result<Figures> {
    let mut running = Followers(Vec::new());
    for index in 1..setting.members {
        let mut command = command(topology, programs, subject, setting, index);
        running.0.push(command.stdout(Stdio::piped()).spawn()?);
    }
    running.0.iter_mut().try_for_each(until_ready)?;
    let output =
        command(topology, programs, subject, setting, 0).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        let status = output.status;
        return Err(io::Error::other(format!("the leader of {} ended: {status}", subject.name())));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn command(
    topology: &Topology,
    programs: &Programs,
    subject: Subject,
    setting: &Setting,
    index: u8,
) -> Command {
    let Some(arguments) = subject.arguments() else {
        return floor(topology, programs, subject, setting, index);
    };
    let members: Vec<_> =
        (0..setting.members).map(|index| format!("{}:{PORT}", Topology::address(index))).collect();
    let mut command = place(topology, setting, index, &programs.propose);
    command.args(["--members", &members.join(","), "--index", &index.to_string()]);
    command.args(["--mode", setting.mode(), "--window", &setting.window.to_string()]);
    command.args(["--operations", &setting.operations.to_string()]).args(arguments);
    command
}

/// A program on its host, the leader on the CPU that is its own if one is.
fn place(topology: &Topology, setting: &Setting, index: u8, program: &Path) -> Command {
    if index > 0 || setting.receive != Receive::Beside {
        return topology.on(index, program);
    }
    let mut command = topology.on(index, "taskset");
    command.args(["-c", "0"]).arg(program);
    command
}

fn floor(
    topology: &Topology,
    programs: &Programs,
    subject: Subject,
    setting: &Setting,
    index: u8,
) -> Command {
    let (operations, window) = (setting.operations.to_string(), setting.window.to_string());
    let role = if index == 0 { "leader" } else { "follower" };
    let places = 1..if index == 0 { setting.members } else { 1 };
    if subject == Subject::FloorSockets {
        let mut command = place(topology, setting, index, &programs.sockets);
        if index > 0 {
            command.args([role, &PORT.to_string()]);
        } else {
            command.args([role, setting.mode(), &PORT.to_string(), &operations, &window]);
        }
        command.args(places.map(|index| Topology::address(index).to_string()));
        return command;
    }
    let hook = if subject == Subject::FloorTc { "tc" } else { "xdp" };
    let mut command = place(topology, setting, index, &programs.drive);
    command.arg(&programs.object).args([role, hook, "eth0"]);
    if index == 0 {
        command.args([&operations, &window]);
    }
    for index in places {
        command.args([Topology::address(index).to_string(), Topology::mac(index)]);
    }
    command
}

/// A follower says so when it follows.
fn until_ready(follower: &mut Child) -> io::Result<()> {
    let mut line = String::new();
    if let Some(said) = follower.stdout.take() {
        BufReader::new(said).read_line(&mut line)?;
    }
    if line.trim() == "ready" {
        return Ok(());
    }
    Err(io::Error::other("a follower ended before it followed"))
}
