//! The repository's folders: what lies where, and a copy of what the programs are built from.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::TaskError;

/// The crate of the kernel programs.
pub(crate) const PROGRAMS: &str = "backend-ebpf-kern";
/// The committed object.
pub(crate) const OBJECT: &str = "backend-ebpf/objects/electrode.bpf.o";

/// What the programs are built from. The root package is there for the workspace that the two
/// libraries inherit from: cargo wants its manifest to have a target.
const SOURCES: [&str; 5] =
    ["Cargo.toml", "src", PROGRAMS, "backend-ebpf-abi", "electrode-transport"];

/// The repository's root.
pub(crate) fn root() -> Result<PathBuf, TaskError> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own.join("..");
    root.canonicalize().map_err(|source| TaskError::io("find", root, source))
}

pub(crate) fn copy_sources(root: &Path, to: &Path) -> Result<(), TaskError> {
    SOURCES.iter().try_for_each(|source| copy(&root.join(source), &to.join(source)))
}

/// Copies a file, or a folder without the `target` folders in it.
fn copy(from: &Path, to: &Path) -> Result<(), TaskError> {
    let failed = |source| TaskError::io("copy", from, source);
    if !from.is_dir() {
        return fs::copy(from, to).map(|_| ()).map_err(failed);
    }
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != "target" {
            copy(&from.join(&name), &to.join(&name))?;
        }
    }
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TaskError> {
    fs::read(path).map_err(|source| TaskError::io("read", path, source))
}

/// Writes a file and the folders above it. A file that is already so is left alone, and with it what
/// cargo has built from it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), TaskError> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let failed = |source| TaskError::io("write", path, source);
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    fs::write(path, bytes).map_err(failed)
}
