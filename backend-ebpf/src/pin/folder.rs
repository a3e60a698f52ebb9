//! Where an endpoint's pins are: a folder of its own on a BPF file system, one owner at a time.
//!
//! ```text
//! FOLDER/                      given by the user
//!     10-77-0-1_7400/          one endpoint's, locked (flock) by whoever has it
//!         live/                everything that is pinned, or nothing: it gets its name last
//!         new/, old/           being made, being removed; whoever comes next removes them
//! ```

use std::ffi::CString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::EbpfError;
use crate::kernel::Link;

/// How long a predecessor that is just ending is waited for.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// As in `linux/magic.h`.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// The pinned links, of the ingress and of the egress program.
pub(super) const LINK_IN: &str = "link_in";
pub(super) const LINK_OUT: &str = "link_out";
const LINKS: [&str; 2] = [LINK_IN, LINK_OUT];

const LIVE: &str = "live";
const NEW: &str = "new";
const OLD: &str = "old";

/// One endpoint's folder, had by this process alone until it is dropped.
///
/// Everything below it is named by way of its descriptor, so that nobody can exchange a folder on the
/// way. This needs `/proc`.
#[derive(Debug)]
pub(crate) struct Folder {
    base: File,
    own: File,
    name: String,
    path: PathBuf,
}

impl Folder {
    /// Finds or makes the endpoint's folder, checks whose it is, and locks it. What an earlier process
    /// left half made or half removed is gone afterwards.
    ///
    /// # Errors
    /// [`EbpfError::NotBpffs`], [`EbpfError::UntrustedPins`], [`EbpfError::PinsInUse`] and
    /// [`EbpfError::Io`].
    pub(crate) fn claim(base: &Path, address: SocketAddr) -> Result<Self, EbpfError> {
        let name = name_of(address);
        let path = base.join(&name);
        let base = open_base(base)?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            make_folder(&inside(&base, &name))?;
            let own = open_folder(&inside(&base, &name), &path, Way::Ours)?;
            if !try_lock(&own)? {
                if Instant::now() >= deadline {
                    return Err(EbpfError::PinsInUse { path });
                }
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            if is_named(&base, &name, &own) {
                let folder = Self { base, own, name, path };
                folder.clear(NEW)?;
                folder.clear(OLD)?;
                return Ok(folder);
            }
        }
    }

    /// The folder as the user knows it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether something is pinned.
    pub(crate) fn is_live(&self) -> bool {
        fs::symlink_metadata(inside(&self.own, LIVE)).is_ok()
    }

    /// The path of something in the making, below a folder that begins empty with the first of them.
    pub(crate) fn prepare(&self) -> Result<PathBuf, EbpfError> {
        let new = inside(&self.own, NEW);
        make_folder(&new)?;
        Ok(new)
    }

    /// What was made becomes what is pinned, all at once.
    pub(crate) fn publish(&self) -> Result<(), EbpfError> {
        fs::rename(inside(&self.own, NEW), inside(&self.own, LIVE))
            .map_err(|source| EbpfError::Io { operation: "give the pins their name", source })
    }

    /// The path of something pinned.
    pub(crate) fn live(&self, name: &str) -> PathBuf {
        inside(&self.own, LIVE).join(name)
    }

    /// Whether it is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.live(name)).is_ok_and(|entry| entry.is_file())
    }

    /// The names of everything that is pinned.
    pub(crate) fn names(&self) -> Result<Vec<String>, EbpfError> {
        let failed = |source| EbpfError::Io { operation: "list the pins", source };
        let entries = fs::read_dir(inside(&self.own, LIVE)).map_err(failed)?;
        entries
            .map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// Takes one pin away, if it is there. A link is detached.
    pub(crate) fn remove(&self, name: &str) -> Result<(), EbpfError> {
        if LINKS.contains(&name) {
            detach(&self.live(name));
        }
        match fs::remove_file(self.live(name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(EbpfError::Io { operation: "remove a pin", source })
            }
            _ => Ok(()),
        }
    }

    /// Takes it once more. `false` if somebody else has it, or has removed it since.
    pub(crate) fn lock_again(&self) -> bool {
        try_lock(&self.own).unwrap_or(false) && is_named(&self.base, &self.name, &self.own)
    }

    /// Lets others have it from now on.
    pub(crate) fn unlock(&self) {
        // SAFETY: no pointers are involved. It cannot fail for a descriptor that is open.
        unsafe { libc::flock(self.own.as_raw_fd(), libc::LOCK_UN) };
    }

    /// Takes everything away, and the endpoint's folder too. First it loses its name, so that a crash in
    /// between leaves nothing that looks whole.
    pub(crate) fn remove_all(&self) -> Result<(), EbpfError> {
        match fs::rename(inside(&self.own, LIVE), inside(&self.own, OLD)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(EbpfError::Io { operation: "take the pins' name away", source });
            }
            _ => {}
        }
        self.clear(OLD)?;
        self.clear(NEW)?;
        match fs::remove_dir(inside(&self.base, &self.name)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(EbpfError::Io { operation: "remove the endpoint's folder", source })
            }
            _ => Ok(()),
        }
    }

    fn clear(&self, stage: &str) -> Result<(), EbpfError> {
        for name in LINKS {
            detach(&inside(&self.own, stage).join(name));
        }
        match fs::remove_dir_all(inside(&self.own, stage)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(EbpfError::Io { operation: "remove half-made pins", source })
            }
            _ => Ok(()),
        }
    }
}

/// Takes the program of a pinned link from its place. Nothing happens if it is no link, or is gone.
fn detach(path: &Path) {
    let Ok(link) = Link::open(path) else { return };
    if let Err(error) = link.detach() {
        tracing::debug!(%error, "a pinned link is not detached: it holds nothing any more");
    }
}

/// Whether the name is still that of the open folder: its owner until now may have removed it between the
/// look and the lock.
fn is_named(base: &File, name: &str, own: &File) -> bool {
    fs::symlink_metadata(inside(base, name))
        .is_ok_and(|now| own.metadata().is_ok_and(|locked| locked.ino() == now.ino()))
}

/// A BPF file system has no names with dots.
fn name_of(address: SocketAddr) -> String {
    let host = address.ip().to_string().replace(['.', ':'], "-");
    format!("{host}_{}", address.port())
}

/// What lies in an open folder, wherever that is by now.
fn inside(folder: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

fn make_folder(path: &Path) -> Result<(), EbpfError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(EbpfError::Io { operation: "make a folder for pins", source })
        }
        _ => Ok(()),
    }
}

/// Opens the user's folder, or makes it in the folder above.
fn open_base(path: &Path) -> Result<File, EbpfError> {
    match open_folder(path, path, Way::Given) {
        Err(EbpfError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let above = open_plain(above.unwrap_or(Path::new(".")), path, Way::Given)?;
    check_bpffs(&above, path)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    make_folder(&inside(&above, &name.unwrap_or_default()))?;
    open_folder(path, path, Way::Given)
}

/// How a path came about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By the user: no symbolic link may be on it.
    Given,
    /// By [`inside`]: it begins with a link of `/proc/self/fd` that leads where the folder was opened.
    Ours,
}

/// Opens a folder that is to be trusted; `shown` is its name in errors.
fn open_folder(path: &Path, shown: &Path, way: Way) -> Result<File, EbpfError> {
    let folder = open_plain(path, shown, way)?;
    check_bpffs(&folder, shown)?;
    let untrusted = |why| EbpfError::UntrustedPins { path: shown.to_owned(), why };
    let facts = folder
        .metadata()
        .map_err(|source| EbpfError::Io { operation: "look at a folder for pins", source })?;
    // SAFETY: no arguments.
    let user = unsafe { libc::geteuid() };
    if facts.uid() != user {
        let why = format!("it belongs to user {} and this is user {user}", facts.uid());
        return Err(untrusted(why));
    }
    if facts.mode() & 0o022 != 0 {
        return Err(untrusted(format!("its mode {:04o} lets others write", facts.mode() & 0o7777)));
    }
    Ok(folder)
}

/// Opens a folder without following a symbolic link (`openat2`, Linux 5.6).
fn open_plain(path: &Path, shown: &Path, way: Way) -> Result<File, EbpfError> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| EbpfError::UntrustedPins {
        path: shown.to_owned(),
        why: "its name has a zero byte".to_owned(),
    })?;
    let fd = if way == Way::Ours {
        // SAFETY: the name outlives the call.
        unsafe { libc::open(name.as_ptr(), flags | libc::O_NOFOLLOW) }.into()
    } else {
        // SAFETY: all zero is a valid value of the plain structure.
        let mut how: libc::open_how = unsafe { std::mem::zeroed() };
        how.flags = flags as u64;
        how.resolve = libc::RESOLVE_NO_SYMLINKS;
        let size = size_of::<libc::open_how>();
        // SAFETY: the pointers lead to locals that outlive the call, of the size that is told.
        unsafe {
            let (at, how) = (libc::AT_FDCWD, &raw const how);
            libc::syscall(libc::SYS_openat2, at, name.as_ptr(), how, size)
        }
    };
    if fd < 0 {
        let source = io::Error::last_os_error();
        let why = match source.raw_os_error() {
            Some(libc::ELOOP) => "a symbolic link is on the way",
            Some(libc::ENOTDIR) => "it is not a folder",
            _ => return Err(EbpfError::Io { operation: "open a folder for pins", source }),
        };
        return Err(EbpfError::UntrustedPins { path: shown.to_owned(), why: why.to_owned() });
    }
    // SAFETY: the descriptor was just opened and nobody else owns it.
    Ok(unsafe { File::from_raw_fd(fd as i32) })
}

fn check_bpffs(folder: &File, shown: &Path) -> Result<(), EbpfError> {
    // SAFETY: all zero is a valid value of the plain structure.
    let mut facts: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer leads to a local that outlives the call.
    if unsafe { libc::fstatfs(folder.as_raw_fd(), &raw mut facts) } != 0 {
        let source = io::Error::last_os_error();
        return Err(EbpfError::Io { operation: "look at a file system", source });
    }
    if facts.f_type as u32 != BPF_FS_MAGIC {
        return Err(EbpfError::NotBpffs { path: shown.to_owned() });
    }
    Ok(())
}

fn try_lock(folder: &File) -> Result<bool, EbpfError> {
    // SAFETY: no pointers are involved.
    if unsafe { libc::flock(folder.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
        return Ok(true);
    }
    let source = io::Error::last_os_error();
    match source.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(false),
        _ => Err(EbpfError::Io { operation: "lock the endpoint's folder", source }),
    }
}
