//! Network namespaces of a test's own.

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd};
use std::process::{Command, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace that goes with this value, and what is in it too.
pub(crate) struct Space {
    name: String,
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

impl Space {
    pub(crate) fn new() -> Self {
        let name = format!("elnet-{}-{}", id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(&["netns", "add", &name]);
        let space = Self { name };
        space.ip("link set lo up");
        space
    }

    /// Two namespaces with a cable between them; the ends are called `el0` and have the addresses
    /// 10.77.0.1 and fd77::1, 10.77.0.2 and fd77::2.
    pub(crate) fn pair() -> (Self, Self) {
        let (one, two) = (Self::new(), Self::new());
        one.ip(&format!("link add el0 type veth peer name el0 netns {}", two.name));
        for (space, host) in [(&one, 1), (&two, 2)] {
            space.ip(&format!("address add 10.77.0.{host}/24 dev el0"));
            space.ip(&format!("address add fd77::{host}/64 dev el0 nodad"));
            space.ip(&format!("link set el0 address 02:00:00:00:77:0{host} up"));
        }
        (one, two)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in there.
    pub(crate) fn ip(&self, line: &str) {
        let mut words = vec!["-n", &self.name];
        words.extend(line.split_whitespace());
        run(&words);
    }

    /// Runs `tc` in there.
    pub(crate) fn tc(&self, words: &[&str]) {
        let mut tc = Command::new("tc");
        let done = tc.args(["-n", &self.name]).args(words).status().unwrap();
        assert!(done.success(), "tc {words:?}");
    }

    /// Runs the closure on a thread that is in there.
    pub(crate) fn inside<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let space = File::open(format!("/run/netns/{}", self.name)).unwrap();
        in_namespace(&space, work)
    }
}

/// Runs the closure on a thread that is in the namespace.
pub(crate) fn in_namespace<R: Send>(space: &File, work: impl FnOnce() -> R + Send) -> R {
    let enter_and_work = || {
        // SAFETY: the descriptor is open; only this thread, which then ends, changes its place.
        let done = unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
        work()
    };
    thread::scope(|scope| match scope.spawn(enter_and_work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A socket that gets every frame that arrives at the interface, from now on.
pub(crate) fn sniff(interface: &str) -> UdpSocket {
    const ETH_P_ALL: u16 = 3;
    let index = super::Interface::by_name(interface).unwrap().index;
    let protocol = i32::from(ETH_P_ALL.to_be());
    // SAFETY: no pointers.
    let fd =
        unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor that nobody else has. Reading is all that is done by it.
    let socket = unsafe { UdpSocket::from_raw_fd(fd) };
    // SAFETY: the structure is integers, for all of which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETH_P_ALL.to_be();
    address.sll_ifindex = index as i32;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is of the length that is told, and outlives the call.
    let done = unsafe { libc::bind(fd, (&raw const address).cast(), len) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

/// Waits for a condition, with a bound.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    // The table of neighbours is the whole machine's: other tests may fill it for a while.
    let deadline = Instant::now() + Duration::from_secs(40);
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn run(words: &[&str]) {
    let done = Command::new("ip").args(words).output().unwrap();
    assert!(done.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&done.stderr));
}
