//! The system calls of the test bed.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use crate::harness::SetupError;

/// capability(7): network set-up, and namespaces with their mounts.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// From fork until some time into exec a child has every descriptor of this process open,
/// close-on-exec or not, and exec lets the parent go on before it closes them. One that this process
/// closes meanwhile lives on for that moment: a port stays taken, a BPF link attached.
static FORKS: RwLock<()> = RwLock::new(());

/// Runs a child from its start to its end, while nobody closes anything.
pub(super) fn fork_alone<T>(run: impl FnOnce() -> T) -> T {
    let _alone = FORKS.write().unwrap_or_else(PoisonError::into_inner);
    run()
}

/// Closes descriptors that must be gone then, while no child starts.
pub(super) fn apart_from_forks<T>(run: impl FnOnce() -> T) -> T {
    let _no_fork = FORKS.read().unwrap_or_else(PoisonError::into_inner);
    run()
}

pub(super) fn io_error(operation: &'static str, source: io::Error) -> SetupError {
    if matches!(source.raw_os_error(), Some(libc::EPERM | libc::EACCES)) {
        return SetupError::MissingPrivilege(format!("could not {operation}: {source}"));
    }
    SetupError::Io { operation, source }
}

/// Whether this process may make namespaces and devices, as far as its capabilities tell.
pub(super) fn check_privileges() -> Result<(), SetupError> {
    let status = fs::read_to_string("/proc/thread-self/status")
        .map_err(|source| io_error("read /proc/thread-self/status", source))?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let effective = effective.ok_or_else(|| SetupError::Io {
        operation: "find CapEff in /proc/thread-self/status",
        source: io::ErrorKind::InvalidData.into(),
    })?;
    for (bit, name) in [(CAP_NET_ADMIN, "CAP_NET_ADMIN"), (CAP_SYS_ADMIN, "CAP_SYS_ADMIN")] {
        if effective & (1 << bit) == 0 {
            return Err(SetupError::MissingPrivilege(format!(
                "network namespaces need {name}: run as root"
            )));
        }
    }
    Ok(())
}

/// Moves the calling thread into a network namespace.
pub(super) fn set_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes an open descriptor and changes only which namespace this thread's calls mean.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// The calling thread's network namespace.
pub(super) fn network_namespace() -> io::Result<OwnedFd> {
    File::open("/proc/thread-self/ns/net").map(OwnedFd::from)
}

/// Opens a TAP device, non-blocking, in the calling thread's namespace, made if it is not there. It
/// carries bare Ethernet frames: the kernel has finished every checksum and cut every segment.
pub(super) fn open_tap(name: &str) -> Result<OwnedFd, SetupError> {
    let file = open_tun().map_err(|source| {
        io_error("open /dev/net/tun (it takes the `tun` module, and access to the device)", source)
    })?;
    // SAFETY: `ifreq` is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    assert!(name.len() < request.ifr_name.len(), "an interface's name has at most 15 bytes");
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes an `ifreq`.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    check(result).map_err(|source| io_error("make a TAP device", source))?;
    Ok(file.into())
}

fn open_tun() -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = Path::new("/dev/net/tun");
    if !path.exists() {
        // Containers often come without the node; the kernel has the device all the same.
        fs::create_dir_all("/dev/net")?;
        make_node(path, libc::makedev(10, 200))?;
    }
    File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn make_node(path: &Path, device: libc::dev_t) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path is a C string that outlives the call.
    let result = unsafe { libc::mknod(path.as_ptr(), libc::S_IFCHR | 0o600, device) };
    match check(result) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// One frame from a TAP device; `None` if there is none.
pub(super) fn read_frame(tap: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: the pointer and length are of the whole buffer, which is ours to write.
    let len = unsafe { libc::read(tap.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    match usize::try_from(len) {
        Ok(len) => Ok(Some(len)),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error => Err(error),
        },
    }
}

/// Gives a frame to a TAP device. The kernel has dealt with it when this returns.
pub(super) fn write_frame(tap: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and length are of the whole frame.
    let len = unsafe { libc::write(tap.as_raw_fd(), frame.as_ptr().cast(), frame.len()) };
    if len < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sleeps until a TAP device has a frame, at most this long.
pub(super) fn wait_readable<'a>(
    taps: impl Iterator<Item = &'a OwnedFd>,
    max: std::time::Duration,
) -> io::Result<()> {
    let mut fds: Vec<_> = taps
        .map(|tap| libc::pollfd { fd: tap.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    let max = libc::timespec {
        tv_sec: max.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: max.subsec_nanos().into(),
    };
    // SAFETY: the array is ours and as long as it says; the time outlives the call; no signal mask.
    let result = unsafe {
        libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, &raw const max, std::ptr::null())
    };
    match check(result) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        result => result,
    }
}

/// Takes a mount away at once; whoever uses it still keeps it.
pub(super) fn detach_mount(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: the path is a C string that outlives the call.
    check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) })
}

/// Has a function called when the process ends by `exit` or by returning from `main`.
pub(super) fn at_exit(function: extern "C" fn()) {
    // SAFETY: the function lives as long as the process and takes nothing.
    let _ = unsafe { libc::atexit(function) };
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
