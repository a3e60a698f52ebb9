//! BPF links, by the system call itself.
//!
//! aya makes links too, but shows neither a link's descriptor nor where it is now, wants the program
//! for itself alone, and makes attachments without a link where the kernel refuses one, which would
//! outlive this process.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::{bpf_attach_type, bpf_cmd, bpf_link_type};

/// A program's place, for as long as this lives. Closing it may wait for the kernel's lock over
/// network devices.
#[derive(Debug)]
pub(crate) struct Link {
    fd: OwnedFd,
}

/// Where a link is now, and what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LinkPlace {
    /// The interface's index; zero once the link was detached or the interface deleted.
    pub(crate) interface: u32,
    /// The program's number. `BPF_LINK_UPDATE` puts another one in.
    pub(crate) program: u32,
}

/// Of `union bpf_attr`, what `BPF_LINK_CREATE` reads for a network device.
#[repr(C)]
struct Create {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    reserved: u32,
    revision: u64,
}

/// Likewise for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Name {
    path: u64,
    fd: u32,
    flags: u32,
}

/// Likewise for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Ask {
    fd: u32,
    len: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info` as tcx and XDP fill it in.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    program: u32,
    reserved: u32,
    interface: u32,
    attach_type: u32,
}

const _: () = {
    assert!(size_of::<Create>() == 32);
    assert!(size_of::<Name>() == 16);
    assert!(size_of::<Ask>() == 16);
    assert!(size_of::<Info>() == 24);
};

impl Link {
    /// Attaches a program to an interface of the calling thread's network namespace.
    ///
    /// # Errors
    /// EINVAL where the kernel has no such links; EBUSY where somebody else's program is in the way.
    pub(crate) fn create(
        program: BorrowedFd<'_>,
        interface: u32,
        attach_type: bpf_attach_type,
        flags: u32,
    ) -> io::Result<Self> {
        let mut create = Create {
            program: program.as_raw_fd() as u32,
            interface,
            attach_type: attach_type as u32,
            flags,
            relative: 0,
            reserved: 0,
            revision: 0,
        };
        let fd = bpf(bpf_cmd::BPF_LINK_CREATE, &mut create)?;
        // SAFETY: the descriptor was just opened and nobody else owns it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// One that is pinned.
    ///
    /// # Errors
    /// ENOENT if there is no such pin; EINVAL if it is something else than a link on an interface.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut name = Name { path: path.as_ptr().expose_provenance() as u64, fd: 0, flags: 0 };
        let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut name)?;
        // SAFETY: the descriptor was just opened and nobody else owns it.
        let link = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        let kinds = [bpf_link_type::BPF_LINK_TYPE_XDP, bpf_link_type::BPF_LINK_TYPE_TCX];
        let kind = link.info()?.kind;
        let is_ours = kinds.into_iter().any(|ours| ours as u32 == kind);
        is_ours.then_some(link).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
    }

    /// Makes it outlive this process, until the pin is removed.
    ///
    /// # Errors
    /// EEXIST if there is something of that name.
    pub(crate) fn pin(&self, path: &Path) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let fd = self.fd.as_raw_fd() as u32;
        let mut name = Name { path: path.as_ptr().expose_provenance() as u64, fd, flags: 0 };
        bpf(bpf_cmd::BPF_OBJ_PIN, &mut name).map(drop)
    }

    /// Where it is now. May wait for the kernel's lock over network devices.
    pub(crate) fn place(&self) -> io::Result<LinkPlace> {
        let info = self.info()?;
        Ok(LinkPlace { interface: info.interface, program: info.program })
    }

    fn info(&self) -> io::Result<Info> {
        let mut info = Info::default();
        let mut ask = Ask {
            fd: self.fd.as_raw_fd() as u32,
            len: size_of::<Info>() as u32,
            info: (&raw mut info).expose_provenance() as u64,
        };
        bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut ask)?;
        // SAFETY: a local; volatile, since the kernel wrote it behind the compiler's back.
        Ok(unsafe { (&raw const info).read_volatile() })
    }

    /// The links by which this program is attached somewhere, as anybody with `CAP_SYS_ADMIN` finds them.
    #[cfg(test)]
    pub(crate) fn all_of(program: u32) -> Vec<Self> {
        let mut links = Vec::new();
        let mut ids = [0u32; 4];
        while bpf(bpf_cmd::BPF_LINK_GET_NEXT_ID, &mut ids).is_ok() {
            ids = [ids[1], 0, 0, 0];
            // One that has ended meanwhile is nobody's.
            let Ok(fd) = bpf(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut ids) else { continue };
            // SAFETY: the descriptor was just opened and nobody else owns it.
            let link = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
            let is_it = |place: LinkPlace| place.program == program && place.interface != 0;
            if link.place().is_ok_and(is_it) {
                links.push(link);
            }
        }
        links
    }

    /// Takes the program from its place, now, whoever else has the link: it goes on to exist, attached
    /// to nothing. (One whose last pin is removed goes only some time later, by a worker of the kernel.)
    pub(crate) fn detach(&self) -> io::Result<()> {
        let mut fd = self.fd.as_raw_fd() as u32;
        bpf(bpf_cmd::BPF_LINK_DETACH, &mut fd).map(drop)
    }

    /// Puts another program in, as `BPF_LINK_UPDATE` by anybody who has the link.
    #[cfg(test)]
    pub(crate) fn replace(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        let mut update = [self.fd.as_raw_fd() as u32, program.as_raw_fd() as u32, 0, 0];
        bpf(bpf_cmd::BPF_LINK_UPDATE, &mut update).map(drop)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// bpf(2). What the attributes do not say is zero to the kernel.
fn bpf<T>(command: bpf_cmd, attributes: &mut T) -> io::Result<i32> {
    let attributes: *mut T = attributes;
    // SAFETY: the pointer and length are of the whole of the attributes, which outlive the call; what
    // they point to in turn does too.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command as i32, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
