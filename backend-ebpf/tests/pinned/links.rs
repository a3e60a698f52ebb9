//! The pinned links: missing, on an interface that is gone, put back while somebody lived.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use electrode_backend_ebpf::EbpfEndpoint;
use electrode_conformance::SetupError;
use electrode_conformance::testbed::{BridgeBed, Host};
use electrode_transport::Counter;

use crate::Outcome;
use crate::bpffs::Bpffs;
use crate::crashes::{attached, members};
use crate::member::{FOLLOWER, PORT, endpoint, group, options};
use crate::take_over::{Leader, PATIENCE, bind, follow, lasting, poll};

/// Runs `ip` on a host.
fn ip(host: &Host, arguments: &str) {
    let mut command: Command = host.command("ip").unwrap();
    let status = command.args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// A host with an interface that comes and goes, beside the one of the bed.
struct Moving {
    bed: BridgeBed,
    bpffs: Bpffs,
}

impl Moving {
    const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1)), PORT);

    fn build() -> Result<Self, SetupError> {
        Ok(Self { bed: BridgeBed::build(1, 1_500)?, bpffs: Bpffs::mount() })
    }

    fn host(&self) -> &Host {
        &self.bed.hosts()[0]
    }

    fn bind(&self) -> EbpfEndpoint {
        let options = options(Some(&self.bpffs.folder()));
        let bind = || EbpfEndpoint::bind(endpoint(FOLLOWER, Self::ADDRESS), options);
        self.host().within(bind).unwrap().unwrap()
    }

    /// How many programs are where frames come and go.
    fn programs(&self) -> (usize, usize) {
        let of = || electrode_backend_ebpf::Survey::of(Self::ADDRESS.ip(), 1_452);
        let occupants = self.host().within(of).unwrap().unwrap().occupants;
        let tcx = |side: &electrode_backend_ebpf::TcOccupants| side.tcx.as_ref().unwrap().len();
        (tcx(&occupants.ingress), tcx(&occupants.egress))
    }

    /// Waits until both are there.
    fn await_programs(&self) {
        let end = Instant::now() + PATIENCE;
        while self.programs() != (1, 1) {
            assert!(Instant::now() < end, "the programs are {:?}", self.programs());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn make(&self, name: &str) {
        ip(self.host(), &format!("link add {name} type veth peer name {name}p"));
        ip(self.host(), &format!("address add 10.99.0.1/24 dev {name}"));
        ip(self.host(), &format!("link set {name} up"));
    }
}

/// The interface was made anew meanwhile: the programs go to the one that has the address now.
pub(crate) fn another_interface() -> Outcome {
    let moving = Moving::build()?;
    moving.make("one");
    drop(moving.bind());
    assert_eq!(moving.programs(), (1, 1), "left in place");
    ip(moving.host(), "link del one");
    moving.make("two");
    assert_eq!(moving.programs(), (0, 0));
    let endpoint = moving.bind();
    assert_eq!(moving.programs(), (1, 1), "attached to the new one");
    drop(endpoint);
    assert_eq!(moving.programs(), (1, 1), "and pinned there");
    let endpoint = moving.bind();
    assert_eq!(moving.programs(), (1, 1), "once");
    endpoint.close();
    assert_eq!(moving.programs(), (0, 0));
    Ok(())
}

/// What an endpoint puts back while it lives is pinned as what it began with: the next one finds it,
/// and nothing is left when that one closes.
pub(crate) fn put_back() -> Outcome {
    let moving = Moving::build()?;
    moving.make("one");
    let endpoint = moving.bind();
    let live = moving.bpffs.contents().pop().unwrap().join("live");
    for _ in 0..3 {
        let before = endpoint.stats().count(Counter::OffloadRegained);
        detach(&live.join("link_in"));
        detach(&live.join("link_out"));
        let end = Instant::now() + PATIENCE;
        while endpoint.stats().count(Counter::OffloadRegained) < before + 2 {
            assert!(Instant::now() < end, "the programs are {:?}", moving.programs());
        }
        assert_eq!(moving.programs(), (1, 1));
    }
    ip(moving.host(), "link del one");
    moving.make("two");
    moving.await_programs();
    drop(endpoint);
    assert_eq!(moving.programs(), (1, 1), "what was put back is pinned");
    let endpoint = moving.bind();
    assert_eq!(moving.programs(), (1, 1), "and found");
    assert_eq!(endpoint.stats().count(Counter::OffloadRegained), 0);
    endpoint.close();
    assert_eq!(moving.programs(), (0, 0));
    assert!(moving.bpffs.contents().is_empty(), "{:?}", moving.bpffs.contents());
    Ok(())
}

/// As `bpftool link detach` of a pin: it stays, and holds nothing.
fn detach(pin: &Path) {
    const OBJ_GET: libc::c_int = 7;
    const LINK_DETACH: libc::c_int = 34;
    let path = CString::new(pin.as_os_str().as_bytes()).unwrap();
    let name = [path.as_ptr().expose_provenance() as u64, 0];
    let bpf = |command: libc::c_int, attributes: *const u64, size: usize| {
        // SAFETY: the attributes and what they point to are locals that outlive the call.
        let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
        assert!(answer >= 0, "{}: {}", pin.display(), std::io::Error::last_os_error());
        answer as i32
    };
    // SAFETY: the descriptor was just opened and nobody else owns it.
    let link = unsafe { OwnedFd::from_raw_fd(bpf(OBJ_GET, name.as_ptr(), 16)) };
    let fd = u64::from(link.as_raw_fd() as u32);
    bpf(LINK_DETACH, &raw const fd, 8);
}

pub(crate) fn missing() -> Outcome {
    let (bed, bpffs) = (BridgeBed::build(2, 1_500)?, Bpffs::mount());
    let (members, host) = (members(&bed), &bed.hosts()[1]);
    let config = lasting(group(members));
    let leader = Leader::start(&bed.hosts()[0], config.clone(), 4);
    let first = bind(host, options(Some(&bpffs.folder()))).unwrap();
    let transport = first.join(config.clone()).unwrap();
    follow(&transport, 4, 1);
    leader.send(1..=1, || leader.quorum() == 1);
    drop((transport, first));
    let live = bpffs.contents().pop().unwrap().join("live");
    std::fs::remove_file(live.join("link_in")).unwrap();
    std::fs::remove_file(live.join("link_out")).unwrap();
    // The kernel takes them away some time after their last pin.
    let end = Instant::now() + PATIENCE;
    while attached(host) != 0 {
        assert!(Instant::now() < end, "the programs are still there");
    }
    let second = bind(host, options(Some(&bpffs.folder()))).unwrap();
    assert_eq!(attached(host), 2);
    let transport = second.join(config).unwrap();
    leader.send(2..=2, || leader.quorum() == 2);
    assert_eq!(poll(&transport).0, [1, 2]);
    second.close();
    Ok(())
}
