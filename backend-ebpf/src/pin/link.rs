//! Pinned links: whether they still hold, and on what.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use aya_obj::generated::{bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type};

/// The index of the interface that a pinned link is on. Zero if the interface is gone: the kernel keeps
/// the link then, and nothing comes by it. `None` if it is no link of ours.
pub(super) fn interface_of(path: &Path) -> io::Result<Option<u32>> {
    let link = open(path)?;
    // SAFETY: all zero is a valid value of the plain structure.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.info.bpf_fd = link.as_raw_fd() as u32;
    attr.info.info_len = size_of::<bpf_link_info>() as u32;
    attr.info.info = (&raw mut info).expose_provenance() as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(if info.type_ == bpf_link_type::BPF_LINK_TYPE_XDP as u32 {
        // SAFETY: the link's type says which part of the union is filled in.
        Some(unsafe { info.__bindgen_anon_1.xdp.ifindex })
    } else if info.type_ == bpf_link_type::BPF_LINK_TYPE_TCX as u32 {
        // SAFETY: as above.
        Some(unsafe { info.__bindgen_anon_1.tcx.ifindex })
    } else {
        None
    })
}

/// Takes the program of a pinned link from its place, now: a link whose last pin is removed goes only
/// some time later, by a worker of the kernel. Nothing happens if it is no link, or is gone.
pub(super) fn detach(path: &Path) {
    let Ok(link) = open(path) else { return };
    // SAFETY: all zero is a valid value of the plain structure.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.link_detach.link_fd = link.as_raw_fd() as u32;
    if let Err(error) = bpf(bpf_cmd::BPF_LINK_DETACH, &mut attr) {
        tracing::debug!(%error, "a pinned link is not detached: it holds nothing any more");
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all zero is a valid value of the plain structure.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    attr.__bindgen_anon_4.pathname = name.as_ptr().expose_provenance() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attr)?;
    // SAFETY: the descriptor was just opened and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<RawFd> {
    let size = size_of::<bpf_attr>();
    // SAFETY: the pointers in it lead to locals of the callers, which outlive the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command as u32, &raw mut *attr, size) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as RawFd) }
}
