//! One host: a network namespace with one interface.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::names::NAMESPACES;
use super::system::{self, io_error};
use crate::harness::SetupError;

/// How many hosts an IPv4 network of the test bed has room for.
pub(super) const HOSTS_MAX: usize = 254;

/// A namespace by its name (`ip netns list` shows it) and by an open descriptor.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    fd: OwnedFd,
}

impl Namespace {
    pub(super) fn open(name: String) -> Result<Self, SetupError> {
        let file = File::open(Path::new(NAMESPACES).join(&name))
            .map_err(|source| io_error("open a network namespace", source))?;
        Ok(Self { name, fd: file.into() })
    }

    /// Its name, as `ip netns exec NAME` takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a closure on the calling thread as if it were in the namespace. Sockets, BPF links and
    /// threads made in it stay there; the thread itself comes back, also from a panic.
    ///
    /// Only the network changes: `/sys` still shows the devices of the namespace in which it was
    /// mounted, while `/proc/sys/net` and netlink show this one's.
    ///
    /// # Errors
    /// [`SetupError`] if the thread could not enter; the closure then has not run.
    ///
    /// # Panics
    /// If the thread cannot come back: in a wrong namespace nothing it did would mean what it says.
    pub fn within<T>(&self, run: impl FnOnce() -> T) -> Result<T, SetupError> {
        /// Brings the thread back.
        struct Home(OwnedFd);
        impl Drop for Home {
            fn drop(&mut self) {
                let back = system::set_network_namespace(self.0.as_fd());
                assert!(back.is_ok(), "a thread cannot leave a network namespace: {back:?}");
            }
        }
        let home = system::network_namespace()
            .map_err(|source| io_error("open this thread's network namespace", source))?;
        system::set_network_namespace(self.fd.as_fd())
            .map_err(|source| io_error("enter a network namespace", source))?;
        let _home = Home(home);
        Ok(run())
    }

    /// Runs a closure on a fresh thread inside the namespace and waits for it. A panic in it goes on
    /// here.
    ///
    /// # Errors
    /// As [`within`](Self::within).
    pub fn enter<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Result<T, SetupError> {
        let inside = || {
            system::set_network_namespace(self.fd.as_fd())
                .map_err(|source| io_error("enter a network namespace", source))?;
            Ok(run())
        };
        std::thread::scope(|scope| match scope.spawn(inside).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// A command that starts in the namespace. As with [`within`](Self::within) only the network is
    /// another. The process may outlive the test bed, and then keeps its namespace.
    ///
    /// Beside clusters in the same process start it before them: for a moment a new process has every
    /// descriptor of its parent open, also those that are being closed.
    ///
    /// # Errors
    /// [`SetupError::Io`] if there is no descriptor left.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command, SetupError> {
        let fd = self
            .fd
            .try_clone()
            .map_err(|source| io_error("copy a namespace's descriptor", source))?;
        let mut command = Command::new(program);
        let enter = move || system::set_network_namespace(fd.as_fd());
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// One host of a test bed: a namespace with `lo` and one interface, both up.
///
/// Host `n` of a bed has the IPv4 address 10.77.0.(n+1)/24, the IPv6 address fd77:e1ec::(n+1)/64 and the
/// MAC 02:e1:ec:00:00:(n+1). Beds do not see each other, so all of them use the same ones.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    index: usize,
}

impl Host {
    pub(super) fn new(namespace: Namespace, index: usize) -> Self {
        assert!(index < HOSTS_MAX, "a test bed has at most {HOSTS_MAX} hosts");
        Self { namespace, index }
    }

    /// Its namespace.
    #[must_use]
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The name of its interface.
    #[must_use]
    pub const fn interface(&self) -> &'static str {
        "eth0"
    }

    fn number(&self) -> u8 {
        self.index as u8 + 1
    }

    /// Its interface's MAC address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        [0x02, 0xe1, 0xec, 0, 0, self.number()]
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number())
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0xe1ec, 0, 0, 0, 0, 0, self.number().into())
    }

    /// A port at one of its addresses.
    #[must_use]
    pub fn address(&self, ipv6: bool, port: u16) -> SocketAddr {
        let address: IpAddr = if ipv6 { self.ipv6().into() } else { self.ipv4().into() };
        SocketAddr::new(address, port)
    }

    /// As [`Namespace::within`].
    ///
    /// # Errors
    /// As there.
    pub fn within<T>(&self, run: impl FnOnce() -> T) -> Result<T, SetupError> {
        self.namespace.within(run)
    }

    /// As [`Namespace::enter`].
    ///
    /// # Errors
    /// As there.
    pub fn enter<T: Send>(&self, run: impl FnOnce() -> T + Send) -> Result<T, SetupError> {
        self.namespace.enter(run)
    }

    /// As [`Namespace::command`].
    ///
    /// # Errors
    /// As there.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command, SetupError> {
        self.namespace.command(program)
    }

    /// Sets one of its kernel's `net.` parameters, named by its path below `/proc/sys/net`.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn set_parameter(&self, path: &str, value: &str) -> Result<(), SetupError> {
        let path = Path::new("/proc/sys/net").join(path);
        let written: io::Result<()> = self.within(|| std::fs::write(&path, value))?;
        written.map_err(|source| io_error("set a network parameter", source))
    }
}
