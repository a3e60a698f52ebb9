//! The compiler's flags: those of `backend-ebpf-kern/.cargo/config.toml`, and the renaming of every
//! path that would otherwise tell one machine from another.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::TaskError;
use crate::tools::Tools;
use crate::tree;

/// What stands between two flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";

/// All flags, as cargo takes them from `CARGO_ENCODED_RUSTFLAGS`. That variable replaces the flags of
/// every configuration file, so the folder's own are read and passed again.
pub(crate) fn encoded(root: &Path, tools: &Tools) -> Result<String, TaskError> {
    let mut flags = configured(&root.join(tree::PROGRAMS).join(".cargo/config.toml"))?;
    // The compiler goes by the last that matches: the particular after the general.
    let mut renamed = vec![
        (tools.cargo_home.clone(), "cargo"),
        (tools.sysroot.join("lib/rustlib/src/rust"), "rust"),
        (root.to_owned(), "electrode"),
    ];
    renamed.extend(registries(&tools.cargo_home).into_iter().map(|folder| (folder, "crates")));
    for (from, to) in renamed {
        flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    }
    Ok(flags.join(SEPARATOR))
}

/// Where each registry's sources lie. The folders' names tell the registry or a mirror of it.
fn registries(cargo_home: &Path) -> Vec<PathBuf> {
    let entries = cargo_home.join("registry/src").read_dir().into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

fn configured(path: &Path) -> Result<Vec<String>, TaskError> {
    let unfit = |why: String| TaskError::Settings { path: path.to_owned(), why };
    let text = fs::read_to_string(path).map_err(|error| TaskError::io("read", path, error))?;
    let settings: toml::Table = text.parse().map_err(|error| unfit(format!("{error}")))?;
    let flags = settings.get("build").and_then(|build| build.get("rustflags"));
    let flags = flags.and_then(toml::Value::as_array);
    flags
        .and_then(|flags| flags.iter().map(|flag| flag.as_str().map(String::from)).collect())
        .ok_or_else(|| unfit("build.rustflags is no list of strings".into()))
}
