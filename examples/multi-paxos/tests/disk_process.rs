//! The log on disk and the machine under it: `kill -9` in a loop, and a disk that is really full.
//!
//! Filling a disk needs a small file system of our own, and so root: without, the case is shown as
//! ignored, and fails where `ELECTRODE_REQUIRE_PRIVILEGED=1`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use electrode_multi_paxos::{DiskStore, LogEntry, LogStore, StoreIdentity};
use electrode_transport::{AckMode, Ballot, ClusterId, NodeId, Slot};
use libtest_mimic::{Arguments, Failed, Trial};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

const OWNER: StoreIdentity =
    StoreIdentity { cluster: ClusterId(7), node: NodeId(2), mode: AckMode::Persisted };
const CHILD: &str = "ELECTRODE_DISK_TEST_CHILD";

fn main() {
    if let Some(directory) = std::env::var_os(CHILD) {
        append_for_ever(Path::new(&directory));
    }
    let (privileged, why) = full_disk::privileged();
    let demanded = std::env::var_os("ELECTRODE_REQUIRE_PRIVILEGED").is_some_and(|set| set == "1");
    if !privileged {
        eprintln!("disk_full_is_a_typed_error is skipped: {why}");
    }
    let trials = vec![
        Trial::test("kill_nine_loses_nothing_that_was_synced", kill_nine),
        Trial::test("disk_full_is_a_typed_error", move || {
            if privileged { full_disk::fill() } else { Err(why.into()) }
        })
        .with_ignored_flag(!privileged && !demanded),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn entry(slot: u64) -> LogEntry {
    let value = format!("the value of slot {slot}. ").repeat(1 + slot as usize % 9).into_bytes();
    LogEntry { slot: Slot(slot), ballot: Ballot(slot / 100 + 1), value }
}

/// The child: appends batches, and reports each slot on its standard output once it is synced.
fn append_for_ever(directory: &Path) -> ! {
    let mut store = DiskStore::open(directory, OWNER).expect("the directory opens after any kill");
    let mut out = std::io::stdout().lock();
    let mut random = StdRng::seed_from_u64(store.last().0);
    loop {
        let first = store.last().0 + 1;
        let entries: Vec<_> = (first..first + random.random_range(1..20)).map(entry).collect();
        let last = entries[entries.len() - 1].slot;
        store.set_promise(entries[entries.len() - 1].ballot).expect("room for a promise");
        store.put(&entries).expect("room for entries");
        store.sync().expect("a sync that works");
        writeln!(out, "{last}").expect("the parent reads");
        out.flush().expect("the parent reads");
    }
}

fn kill_nine() -> Result<(), Failed> {
    let seed = 11;
    let directory = TempDir::new()?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut synced = 0;
    for round in 0..15 {
        let mut child = Killed(
            Command::new(std::env::current_exe()?)
                .env(CHILD, directory.path())
                .stdout(Stdio::piped())
                .spawn()?,
        );
        let out = child.0.stdout.take().ok_or("no pipe")?;
        let reports = random.random_range(1..60);
        let mut lines = BufReader::new(out).lines();
        for _ in 0..reports {
            let line = lines.next().ok_or_else(|| format!("round {round}: the child ended"))??;
            synced = line.parse()?;
        }
        // Somewhere in the middle of the next syncs; what it still reports counts too.
        child.0.kill()?;
        child.0.wait()?;
        for line in lines.map_while(Result::ok) {
            synced = line.parse().unwrap_or(synced);
        }
        let store = DiskStore::open(directory.path(), OWNER)?;
        let found = store.read(Slot(1), usize::MAX)?;
        let last = found.len() as u64;
        if last < synced {
            return Err(format!("round {round}: {synced} reported synced, {last} found").into());
        }
        if store.promise() < entry(synced).ballot {
            return Err(format!("round {round}: the promise fell to {}", store.promise()).into());
        }
        for (expected, found) in (1..).zip(found) {
            if found != entry(expected) {
                return Err(format!("round {round}: slot {expected} came back altered").into());
            }
        }
    }
    Ok(())
}

/// A child that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[cfg(not(target_os = "linux"))]
mod full_disk {
    pub(super) fn privileged() -> (bool, &'static str) {
        (false, "it mounts a tmpfs in a mount namespace, which only Linux has")
    }

    pub(super) fn fill() -> Result<(), libtest_mimic::Failed> {
        Err("only on Linux".into())
    }
}

#[cfg(target_os = "linux")]
mod full_disk {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use electrode_multi_paxos::{DiskStore, LogEntry, LogStore, StoreError};
    use electrode_transport::{Ballot, Slot};
    use libtest_mimic::Failed;
    use tempfile::TempDir;

    use super::OWNER;

    /// Whether this process may mount, and why not.
    pub(super) fn privileged() -> (bool, &'static str) {
        // SAFETY: the call takes no arguments and cannot fail.
        let root = unsafe { libc::geteuid() } == 0;
        (root, "it mounts a small tmpfs, which needs root")
    }

    /// Mounts a tmpfs of 4 MiB that only this thread sees, and that goes with it.
    fn mount(at: &Path) -> Result<(), Failed> {
        // SAFETY: unshare changes only this thread's view of the mounts.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            return Err(format!("unshare: {}", std::io::Error::last_os_error()).into());
        }
        let at = CString::new(at.as_os_str().as_bytes())?;
        let (root, tmpfs, options) = (c"/", c"tmpfs", c"size=4m");
        // SAFETY: all strings are terminated and outlive the call; nothing is passed as data.
        let private = unsafe {
            libc::mount(
                root.as_ptr(),
                root.as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            )
        };
        // SAFETY: as above; tmpfs takes its options as a terminated string.
        let mounted = unsafe {
            libc::mount(tmpfs.as_ptr(), at.as_ptr(), tmpfs.as_ptr(), 0, options.as_ptr().cast())
        };
        if private != 0 || mounted != 0 {
            return Err(format!("mount: {}", std::io::Error::last_os_error()).into());
        }
        Ok(())
    }

    /// Unmounts, so that the directory under the mount can be removed.
    struct Mounted<'a>(&'a Path);

    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            if let Ok(at) = CString::new(self.0.as_os_str().as_bytes()) {
                // SAFETY: the string is terminated and outlives the call.
                unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
            }
        }
    }

    pub(super) fn fill() -> Result<(), Failed> {
        let directory = TempDir::new()?;
        mount(directory.path())?;
        let _mounted = Mounted(directory.path());
        let data = directory.path().join("data");
        let ballast = directory.path().join("ballast");
        std::fs::write(&ballast, vec![1; 1 << 20])?;
        let mut store = DiskStore::open(&data, OWNER)?;
        let mut synced = 0;
        let error = loop {
            let value = vec![synced as u8; 50_000];
            let entry = LogEntry { slot: Slot(synced + 1), ballot: Ballot(1), value };
            store.put(&[entry])?;
            match store.sync() {
                Ok(()) => synced += 1,
                Err(error) => break error,
            }
            if synced > 1_000 {
                return Err("4 MiB never filled up".into());
            }
        };
        if !matches!(error, StoreError::Full { .. }) {
            return Err(format!("a full disk was told as: {error}").into());
        }
        if synced == 0 {
            return Err("nothing was synced before the disk was full".into());
        }
        // The store must not be used further.
        if store.put(&[]).is_ok() || store.sync().is_ok() {
            return Err("the store went on after it had failed".into());
        }
        drop(store);
        // What the message tells the operator to do.
        std::fs::remove_file(&ballast)?;
        let mut store = DiskStore::open(&data, OWNER)?;
        let found = store.read(Slot(1), usize::MAX)?;
        let whole = found.iter().zip(0..).all(|(entry, byte)| entry.value == vec![byte; 50_000]);
        if (found.len() as u64) < synced || !whole {
            return Err(format!("{synced} were synced, {} are there", found.len()).into());
        }
        let next = LogEntry { slot: store.last().next(), ballot: Ballot(1), value: vec![9; 100] };
        store.put(&[next])?;
        Ok(store.sync()?)
    }
}
