//! The tools that a build needs beside cargo, and how to get each.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::TaskError;

/// The linker's release line. Another would write other bytes.
const LINKER: &str = "bpf-linker 0.13.";

#[derive(Debug)]
pub(crate) struct Tools {
    /// The pinned toolchain.
    pub(crate) sysroot: PathBuf,
    /// Where cargo keeps the sources of dependencies.
    pub(crate) cargo_home: PathBuf,
    objcopy: PathBuf,
}

impl Tools {
    /// Finds the tools; `programs` is the folder whose `rust-toolchain.toml` names the toolchain.
    ///
    /// # Errors
    /// [`TaskError::Tool`] with a command that installs what is missing.
    pub(crate) fn find(programs: &Path) -> Result<Self, TaskError> {
        let sysroot = find_sysroot(programs)?;
        check_linker()?;
        let objcopy = find_objcopy(&sysroot)?;
        Ok(Self { sysroot, cargo_home: find_cargo_home()?, objcopy })
    }

    /// `llvm-objcopy`, ready to be given its arguments.
    pub(crate) fn objcopy(&self) -> Command {
        objcopy_command(&self.objcopy, &self.sysroot)
    }
}

/// The output of a command, or what went wrong.
pub(crate) fn output(command: &mut Command) -> Result<String, TaskError> {
    let shown = format!("{command:?}");
    let output =
        command.output().map_err(|source| TaskError::Start { command: shown.clone(), source })?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(TaskError::Command { command: shown, why });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A command of the toolchain that `programs` pins: not of the one that runs this program.
pub(crate) fn pinned(tool: &str, programs: &Path) -> Command {
    let mut command = Command::new(tool);
    command.current_dir(programs).env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn find_sysroot(programs: &Path) -> Result<PathBuf, TaskError> {
    let remedy = "Run `rustup toolchain install` in backend-ebpf-kern: rust-toolchain.toml there \
                  names the version and the components.";
    let missing = |found: String| TaskError::Tool {
        tool: "rustc with rust-src",
        found,
        remedy: remedy.into(),
    };
    let printed = output(pinned("rustc", programs).args(["--print", "sysroot"]))
        .map_err(|error| missing(error.to_string()))?;
    let sysroot = PathBuf::from(printed);
    let source = sysroot.join("lib/rustlib/src/rust/library/core");
    if source.is_dir() {
        Ok(sysroot)
    } else {
        Err(missing(format!("there is no {}", source.display())))
    }
}

fn check_linker() -> Result<(), TaskError> {
    let found = match output(Command::new("bpf-linker").arg("--version")) {
        Ok(version) if version.starts_with(LINKER) => return Ok(()),
        Ok(version) => version,
        Err(error) => error.to_string(),
    };
    let remedy = "Install LLVM 22 with its headers (Debian: `apt-get install llvm-22-dev`), then:\n  \
                  PATH=/usr/lib/llvm-22/bin:$PATH LLVM_PREFIX=/usr/lib/llvm-22 cargo install \
                  bpf-linker --version 0.13.0 --locked --no-default-features --features llvm-22";
    Err(TaskError::Tool { tool: "bpf-linker 0.13", found, remedy: remedy.into() })
}

/// Whichever release: what stripping leaves is the same.
fn find_objcopy(sysroot: &Path) -> Result<PathBuf, TaskError> {
    let mut candidates = Vec::new();
    // The toolchain's own, which the component llvm-tools calls by its usual name.
    for entry in sysroot.join("lib/rustlib").read_dir().into_iter().flatten().flatten() {
        let folder = entry.path().join("bin");
        candidates.extend(["rust-objcopy", "llvm-objcopy"].map(|name| folder.join(name)));
    }
    candidates.extend(
        ["llvm-objcopy-22", "/usr/lib/llvm-22/bin/llvm-objcopy", "llvm-objcopy"].map(PathBuf::from),
    );
    let works = |path: &PathBuf| output(objcopy_command(path, sysroot).arg("--version")).is_ok();
    candidates.into_iter().find(works).ok_or_else(|| TaskError::Tool {
        tool: "llvm-objcopy",
        found: "neither in the toolchain nor on PATH".into(),
        remedy: "Run `rustup component add llvm-tools` in backend-ebpf-kern, or install LLVM 22 \
                 (Debian: `apt-get install llvm-22`)."
            .into(),
    })
}

/// The toolchain's own looks for its LLVM beside rustc, and does not find it unaided.
fn objcopy_command(path: &Path, sysroot: &Path) -> Command {
    let mut command = Command::new(path);
    if path.starts_with(sysroot) {
        command.env("LD_LIBRARY_PATH", sysroot.join("lib"));
    }
    command
}

fn find_cargo_home() -> Result<PathBuf, TaskError> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => env::home_dir().unwrap_or_default().join(".cargo"),
    };
    home.canonicalize().map_err(|source| TaskError::io("find cargo's folder", home, source))
}
