//! The names of namespaces: this process's own, and what dead processes left behind.
//!
//! A name is `el<pid>-<bed>-<host>`. Beside it each process holds a locked file of its pid. The
//! kernel frees the lock when the process ends, however it does, so that a lock that can be had means
//! an owner that is dead, also where pids have been used again.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::system::{self, io_error};
use crate::harness::SetupError;

/// Where `ip netns` keeps its names (ip-netns(8)).
pub(super) const NAMESPACES: &str = "/run/netns";
const LOCKS: &str = "/run/electrode-testbed";

static OWNER: Mutex<Owner> = Mutex::new(Owner { lock: None, beds: 0, ended: false });

/// What this process has.
#[derive(Debug)]
struct Owner {
    lock: Option<File>,
    beds: u64,
    ended: bool,
}

fn owner() -> MutexGuard<'static, Owner> {
    OWNER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes every namespace of this process, now. Nothing can be built afterwards.
///
/// The test bed calls it itself when the process ends by `exit`, by returning from `main`, by Ctrl-C
/// or by SIGTERM. A program that has set a handler of those signals through the `ctrlc` crate
/// *before* its first test bed keeps its own, and calls this from it. After SIGKILL or an abort the
/// next test bed on the machine does it.
pub fn clean_up() {
    let mut owner = owner();
    owner.ended = true;
    if owner.lock.is_some() {
        remove_names_of(process::id());
        let _ = fs::remove_file(lock_path(process::id()));
        // The lock itself is kept: until the end of the process nobody else is its owner.
    }
}

/// The names of one bed, which vanish with this value. The namespaces themselves last as long as
/// somebody is in them or has them open.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    /// Makes the namespaces while nobody can clean up: whatever `make` has made when it fails, panics
    /// or is interrupted goes again.
    pub(super) fn make<T>(
        make: impl FnOnce(&str) -> Result<T, SetupError>,
    ) -> Result<(Self, T), SetupError> {
        system::check_privileges()?;
        let mut owner = owner();
        if owner.ended {
            let source = io::Error::other("the test bed was cleaned up: the process is ending");
            return Err(SetupError::Io { operation: "make namespaces", source });
        }
        if owner.lock.is_none() {
            owner.lock = Some(begin()?);
        }
        let prefix = format!("el{}-{}-", process::id(), owner.beds);
        owner.beds += 1;
        let names = Self { prefix };
        let made = make(&names.prefix)?;
        Ok((names, made))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        remove_names(|name| name.starts_with(&self.prefix));
    }
}

/// The first bed of this process: clears away what the dead left, and sees to it that this process
/// leaves nothing.
fn begin() -> Result<File, SetupError> {
    fs::create_dir_all(LOCKS).map_err(|source| io_error("make the folder of locks", source))?;
    sweep();
    let locked = lock(process::id()).map_err(|source| io_error("lock the names", source))?;
    let Some(file) = locked else {
        let why = "another process with this pid, in another PID namespace, has a test bed";
        return Err(SetupError::Io { operation: "lock the names", source: io::Error::other(why) });
    };
    remove_names_of(process::id());
    extern "C" fn at_exit() {
        clean_up();
    }
    system::at_exit(at_exit);
    // An error means that the program has a handler of its own; see `clean_up`.
    let _ = ctrlc::try_set_handler(|| {
        clean_up();
        process::exit(130);
    });
    Ok(file)
}

/// Removes what dead processes left.
fn sweep() {
    let named = files(NAMESPACES).filter_map(|name| pid_of(&name));
    let locked = files(LOCKS).filter_map(|name| name.strip_suffix(".lock")?.parse().ok());
    let pids: BTreeSet<u32> = named.chain(locked).collect();
    for pid in pids {
        if let Ok(Some(_lock)) = lock(pid) {
            remove_names_of(pid);
            let _ = fs::remove_file(lock_path(pid));
        }
    }
}

fn lock_path(pid: u32) -> PathBuf {
    Path::new(LOCKS).join(format!("{pid}.lock"))
}

/// The lock of a pid's names, if nobody has it.
fn lock(pid: u32) -> io::Result<Option<File>> {
    let path = lock_path(pid);
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Between the two calls a sweep may have removed the file: then the lock protects nothing.
        let inode = file.metadata()?.ino();
        if fs::metadata(&path).is_ok_and(|named| named.ino() == inode) {
            return Ok(Some(file));
        }
    }
}

/// `el<pid>-<bed>-<host>`, and nothing else, has an owner.
fn pid_of(name: &str) -> Option<u32> {
    let mut parts = name.strip_prefix("el")?.split('-');
    let pid = parts.next()?.parse().ok()?;
    parts.next()?.parse::<u64>().ok()?;
    let host = parts.next()?;
    let is_host = host == super::bed::SWITCH || host.parse::<usize>().is_ok();
    (is_host && parts.next().is_none()).then_some(pid)
}

fn files(folder: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

fn remove_names_of(pid: u32) {
    remove_names(|name| pid_of(name) == Some(pid));
}

/// As `ip netns delete` does.
fn remove_names(ours: impl Fn(&str) -> bool) {
    for name in files(NAMESPACES).filter(|name| ours(name)) {
        let path = Path::new(NAMESPACES).join(name);
        // What is not mounted any more, or gone, is what is wanted.
        let _ = system::detach_mount(&path);
        let _ = fs::remove_file(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::pid_of;

    #[test]
    fn only_whole_names_are_ours() {
        assert_eq!(pid_of("el42-0-1"), Some(42));
        assert_eq!(pid_of("el42-0-sw"), Some(42));
        for foreign in ["el42", "el42-0", "el42-0-x", "el42-0-1-2", "elx-0-1", "web42-0-1", "eth0"]
        {
            assert_eq!(pid_of(foreign), None, "{foreign}");
        }
    }
}
