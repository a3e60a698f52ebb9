//! From source to a stripped object, the same bytes on every machine.

use std::env;
use std::path::Path;
use std::process::Command;

use crate::error::TaskError;
use crate::flags;
use crate::tools::{self, Tools};
use crate::tree;

/// Variables that change what cargo builds, or with what, by their prefixes.
const MEDDLERS: [&str; 8] = [
    "CARGO_BUILD_",
    "CARGO_ENCODED_RUSTFLAGS",
    // Cuts crates into other units: not even the verifier's verdict is the same then.
    "CARGO_INCREMENTAL",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_UNSTABLE_",
    "RUSTC",
    "RUSTFLAGS",
];

/// Builds the programs of the repository at `root` under its `target/ebpf` and gives the object
/// without debugging sections. What the kernel reads of them, `.BTF` and `.BTF.ext`, stays. A mutant
/// is a deliberately broken variant: `--cfg electrode_mutant="NAME"`.
pub(crate) fn compile(
    root: &Path,
    tools: &Tools,
    mutant: Option<&str>,
) -> Result<Vec<u8>, TaskError> {
    let programs = root.join(tree::PROGRAMS);
    // First of all, because the flags name the folders that this fills.
    run(cargo(&programs).args(["fetch", "--locked"]))?;
    let target = root.join("target/ebpf");
    // Until the end: another build, of another variant, writes to the same place.
    let _lock = tree::lock(&target)?;
    let mut build = cargo(&programs);
    build
        .args(["rustc", "--release", "--locked", "--bin", "electrode", "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags::encoded(root, tools)?)
        // The target is none that comes with a `core`: it is built along, which stable compilers
        // must be talked into.
        .env("RUSTC_BOOTSTRAP", "1");
    if let Some(name) = mutant {
        build.args(["--", "--cfg", &format!("electrode_mutant=\"{name}\"")]);
    }
    run(&mut build)?;

    let linked = target.join("bpfel-unknown-none/release/electrode");
    let stripped = target.join("electrode.bpf.o");
    run(tools.objcopy().arg("--strip-debug").args([&linked, &stripped]))?;
    tree::read(&stripped)
}

/// Cargo of the pinned toolchain, whatever the environment says.
fn cargo(programs: &Path) -> Command {
    let mut command = tools::pinned("cargo", programs);
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in names.filter(|name| MEDDLERS.iter().any(|meddler| name.starts_with(meddler))) {
        command.env_remove(name);
    }
    command
}

/// Runs a command whose words go where this program's go.
fn run(command: &mut Command) -> Result<(), TaskError> {
    let shown = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(TaskError::Command { command: shown, why: status.to_string() }),
        Err(source) => Err(TaskError::Start { command: shown, source }),
    }
}
