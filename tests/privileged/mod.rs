//! Tests that need root, and programs for those that have none.
#![allow(unreachable_pub, dead_code, reason = "a module of tests, each of which uses some of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::id;

/// Whether this process may load programs and make namespaces.
pub fn is_privileged(what: &str) -> bool {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    let required =
        std::env::var_os("ELECTRODE_REQUIRE_PRIVILEGED").is_some_and(|value| value == "1");
    assert!(!required, "{what} needs root, and ELECTRODE_REQUIRE_PRIVILEGED=1 demands it");
    eprintln!("LEFT OUT: {what} needs root");
    false
}

/// A copy of a program where everybody can start it: a checkout may be where only root can go.
pub struct ForEverybody(PathBuf);

impl ForEverybody {
    pub fn copy(program: &Path) -> Self {
        let name = program.file_name().and_then(|name| name.to_str()).unwrap();
        let copy = std::env::temp_dir().join(format!("electrode-test-{}-{name}", id()));
        fs::copy(program, &copy).unwrap();
        Self(copy)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ForEverybody {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
