//! A BPF file system of a test's own.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Mounted as long as this lives.
#[derive(Debug)]
pub(crate) struct Bpffs(PathBuf);

impl Bpffs {
    pub(crate) fn mount() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        sweep();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        let at = c_string(&path);
        // SAFETY: names that outlive the call.
        let mounted = unsafe {
            libc::mount(c"bpf".as_ptr(), at.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null())
        };
        assert_eq!(mounted, 0, "mount a BPF file system: {}", std::io::Error::last_os_error());
        Self(path)
    }

    /// The mount point.
    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// The folder that endpoints are given, made by the first.
    pub(crate) fn folder(&self) -> PathBuf {
        self.0.join("electrode")
    }

    /// Everything that is pinned for endpoints now.
    pub(crate) fn contents(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.folder())
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

const PREFIX: &str = "electrode-pinned-";

fn unmount(path: &Path) {
    // SAFETY: a name that outlives the call.
    unsafe { libc::umount2(c_string(path).as_ptr(), libc::MNT_DETACH) };
    let _ = std::fs::remove_dir(path);
}

/// Unmounts what tests left that were killed.
fn sweep() {
    for entry in std::fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // A journal, beside.
            let _ = std::fs::remove_file(entry.path());
            unmount(&entry.path());
        }
    }
}

fn c_string(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}
