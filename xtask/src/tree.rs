//! The repository's folders: what lies where, and a copy of what the programs are built from.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
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

/// The repository's root. Asked at run time: checkouts that share a target folder share this program.
pub(crate) fn root() -> Result<PathBuf, TaskError> {
    let own = env::var_os("CARGO_MANIFEST_DIR").ok_or(TaskError::Alone)?;
    let root = Path::new(&own).join("..");
    root.canonicalize().map_err(|source| TaskError::io("find", root, source))
}

pub(crate) fn copy_sources(root: &Path, to: &Path) -> Result<(), TaskError> {
    SOURCES.iter().try_for_each(|source| copy(&root.join(source), &to.join(source)))
}

/// The names of all broken variants: wherever the programs' source says `broken!("NAME")`.
pub(crate) fn mutants(root: &Path) -> Result<BTreeSet<String>, TaskError> {
    let folder = root.join(PROGRAMS).join("src");
    let failed = |source| TaskError::io("read", &folder, source);
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let text = fs::read_to_string(&path).map_err(|error| TaskError::io("read", path, error))?;
        let after = text.split("broken!(\"").skip(1);
        names.extend(after.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
    Ok(names)
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

/// Makes a folder and waits until it is this program's alone, which it is while the file lives.
pub(crate) fn lock(folder: &Path) -> Result<File, TaskError> {
    let failed = |source| TaskError::io("lock", folder, source);
    fs::create_dir_all(folder).map_err(failed)?;
    let file = File::create(folder.join("xtask.lock")).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
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
