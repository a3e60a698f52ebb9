//! Putting the programs in place. Every attachment is a link that ends with its descriptor, so a
//! process that dies leaves nothing behind that it has not pinned.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use aya::programs::{ProgramError, ProgramFd, TcAttachType};
use aya::sys::SyscallError;
use aya_obj::generated::bpf_attach_type::{self, BPF_TCX_EGRESS, BPF_TCX_INGRESS, BPF_XDP};

use crate::error::EbpfError;
use crate::hook::Hook;
use crate::kernel::{CATCH, IN_TC, IN_XDP, Kernel, Link, LinkPlace, OUT_TC};
use crate::net::Interface;
use crate::survey::xdp_occupants;

/// First of the programs there: they see what this one lets pass, as if it were not there.
const BPF_F_BEFORE: u32 = 1 << 3;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// A program in its place, as long as this lives and nobody detaches it.
#[derive(Debug)]
pub(crate) struct Attachment {
    link: Link,
    place: LinkPlace,
}

/// What became of an attachment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// The program is where it was put.
    InPlace,
    /// Somebody detached it, or its interface was deleted.
    Detached,
    /// Somebody put another program in its place.
    Replaced,
}

impl Attachment {
    /// What became of it. May wait for the kernel's lock over network devices.
    pub(crate) fn standing(&self) -> io::Result<Standing> {
        let now = self.link.place()?;
        Ok(match now {
            _ if now.interface != self.place.interface => Standing::Detached,
            _ if now.program != self.place.program => Standing::Replaced,
            _ => Standing::InPlace,
        })
    }

    /// One that was pinned, if this program is still in it, on this interface.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub(crate) fn found(
        path: &Path,
        interface: &Interface,
        program: u32,
    ) -> io::Result<Option<Self>> {
        let link = Link::open(path)?;
        let place = link.place()?;
        let is_it = place == LinkPlace { interface: interface.index, program };
        Ok(is_it.then_some(Self { link, place }))
    }

    /// Makes it outlive this process, until it is detached.
    ///
    /// # Errors
    /// As [`Link::pin`].
    pub(crate) fn pin(&self, path: &Path) -> io::Result<()> {
        self.link.pin(path)
    }
}

/// A place for a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Post {
    /// Where frames arrive.
    Ingress(Hook),
    /// Where they leave.
    Egress,
}

impl Post {
    /// The name of the program that belongs there.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Ingress(Hook::Tc) => IN_TC,
            Self::Ingress(Hook::XdpGeneric | Hook::XdpNative) => IN_XDP,
            Self::Egress => OUT_TC,
        }
    }

    pub(crate) const fn hook(self) -> Hook {
        match self {
            Self::Ingress(hook) => hook,
            Self::Egress => Hook::Tc,
        }
    }

    const fn target(self) -> (bpf_attach_type, u32) {
        match self {
            Self::Ingress(Hook::Tc) => (BPF_TCX_INGRESS, BPF_F_BEFORE),
            Self::Ingress(Hook::XdpGeneric) => (BPF_XDP, XDP_FLAGS_SKB_MODE),
            Self::Ingress(Hook::XdpNative) => (BPF_XDP, XDP_FLAGS_DRV_MODE),
            Self::Egress => (BPF_TCX_EGRESS, BPF_F_BEFORE),
        }
    }
}

impl Kernel {
    /// Puts the ingress program at `hook` of the interface. The calling thread must be in the
    /// interface's network namespace.
    ///
    /// # Errors
    /// [`EbpfError::Load`] with the verifier's log; as [`attach`](Self::attach).
    pub(crate) fn attach_ingress(
        &mut self,
        interface: &Interface,
        hook: Hook,
    ) -> Result<Attachment, EbpfError> {
        self.load_at(Post::Ingress(hook))?;
        self.attach(Post::Ingress(hook), interface)
    }

    /// Puts the egress program in place.
    ///
    /// # Errors
    /// As [`attach_ingress`](Self::attach_ingress).
    pub(crate) fn attach_egress(&mut self, interface: &Interface) -> Result<Attachment, EbpfError> {
        self.load_at(Post::Egress)?;
        self.attach(Post::Egress, interface)
    }

    fn load_at(&mut self, post: Post) -> Result<(), EbpfError> {
        match post.program() {
            name @ IN_XDP => self.load_xdp(name).map(drop),
            name => self.load_tc(name).map(drop),
        }
    }

    /// Puts a program that is loaded already in place, from the interface's network namespace. May wait
    /// for the kernel's lock over network devices.
    ///
    /// # Errors
    /// [`EbpfError::Occupied`] with the owner's name if the XDP slot is taken; [`EbpfError::NoLink`]
    /// before Linux 6.6; [`EbpfError::Attach`] for what else the kernel refuses.
    pub(crate) fn attach(
        &self,
        post: Post,
        interface: &Interface,
    ) -> Result<Attachment, EbpfError> {
        self.attach_program(post.program(), post.hook(), post.target(), interface)
    }

    fn attach_program(
        &self,
        name: &'static str,
        hook: Hook,
        target: (bpf_attach_type, u32),
        interface: &Interface,
    ) -> Result<Attachment, EbpfError> {
        let program = self.ebpf.program(name).ok_or(EbpfError::Foreign { name })?;
        let failed = |source| attach_error(name, hook, interface, source);
        attach_to(program.fd().map_err(failed)?, target, interface).map_err(|error| {
            match error.raw_os_error() {
                // A slot that is taken, or taken in another mode. The kernel does not say by whom.
                Some(libc::EBUSY | libc::EEXIST) if hook != Hook::Tc => {
                    let owner = xdp_occupants(interface.index);
                    let owner =
                        owner.unwrap_or_else(|| "a program that is not told by name".to_owned());
                    let (interface, source) = (interface.name.clone(), Box::new(syscall(error)));
                    EbpfError::Occupied { interface, owner, source }
                }
                Some(libc::EINVAL) if hook == Hook::Tc => EbpfError::NoLink { hook },
                _ => failed(syscall(error)),
            }
        })
    }

    /// Puts the self-test's program in place that keeps answers from going further.
    ///
    /// # Errors
    /// As [`attach_ingress`](Self::attach_ingress).
    pub(crate) fn attach_catch(
        &mut self,
        interface: &Interface,
        kind: TcAttachType,
    ) -> Result<Attachment, EbpfError> {
        self.load_tc(CATCH)?;
        let direction = match kind {
            TcAttachType::Ingress => BPF_TCX_INGRESS,
            _ => BPF_TCX_EGRESS,
        };
        self.attach_program(CATCH, Hook::Tc, (direction, BPF_F_BEFORE), interface)
    }

    /// Puts the program that lets everything pass at the end of a veth opposite a driver-mode XDP
    /// program, for a test bed.
    #[cfg(test)]
    pub(crate) fn attach_stub(&mut self, interface: &Interface) -> Result<Attachment, EbpfError> {
        const NAME: &str = "el_pass";
        let target = (BPF_XDP, XDP_FLAGS_DRV_MODE);
        let failed = |source| attach_error(NAME, Hook::XdpNative, interface, source);
        let fd = self.load_xdp(NAME)?.fd().map_err(failed)?;
        attach_to(fd, target, interface).map_err(|error| failed(syscall(error)))
    }
}

fn attach_to(
    program: &ProgramFd,
    (attach_type, flags): (bpf_attach_type, u32),
    interface: &Interface,
) -> io::Result<Attachment> {
    let link = Link::create(program.as_fd(), interface.index, attach_type, flags)?;
    let place = link.place()?;
    Ok(Attachment { link, place })
}

fn syscall(io_error: io::Error) -> ProgramError {
    ProgramError::SyscallError(SyscallError { call: "BPF_LINK_CREATE", io_error })
}

fn attach_error(
    name: &'static str,
    hook: Hook,
    interface: &Interface,
    source: ProgramError,
) -> EbpfError {
    EbpfError::Attach {
        name,
        hook: hook.to_string(),
        interface: interface.name.clone(),
        source: Box::new(source),
    }
}

#[cfg(test)]
#[path = "attach_tests.rs"]
mod tests;
