//! Putting the programs in place. Every attachment is a link that ends with its descriptor, so a
//! process that dies leaves nothing behind that it has not pinned.

use std::path::Path;

use aya::pin::PinError;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::xdp::XdpLink;
use aya::programs::{LinkOrder, ProgramError, TcAttachType, XdpMode};

use crate::error::EbpfError;
use crate::hook::Hook;
use crate::kernel::{CATCH, IN_TC, IN_XDP, Kernel, OUT_TC};
use crate::net::Interface;
use crate::survey::xdp_occupants;

/// A program in its place, as long as this lives, or as it is pinned.
#[derive(Debug)]
pub(crate) struct Attachment {
    link: FdLink,
}

impl Attachment {
    /// Makes it outlive this process, until the pin is removed.
    pub(crate) fn pin(self, path: &Path) -> Result<Self, PinError> {
        Ok(Self { link: self.link.pin(path)?.into() })
    }

    /// One that an earlier process pinned.
    pub(crate) fn found(path: &Path) -> Result<Self, LinkError> {
        Ok(Self { link: PinnedLink::from_pin(path)?.into() })
    }
}

impl Kernel {
    /// Puts the ingress program at `hook` of the interface. The calling thread must be in the
    /// interface's network namespace.
    ///
    /// # Errors
    /// [`EbpfError::Load`] with the verifier's log; [`EbpfError::Attach`] if the hook is occupied or
    /// not there.
    pub(crate) fn attach_ingress(
        &mut self,
        interface: &Interface,
        hook: Hook,
    ) -> Result<Attachment, EbpfError> {
        let failed = |source| xdp_error(IN_XDP, hook, interface, source);
        let mode = match hook {
            Hook::Tc => return self.attach_tc(interface, IN_TC, TcAttachType::Ingress),
            Hook::XdpGeneric => XdpMode::Skb,
            Hook::XdpNative => XdpMode::Driver,
        };
        let program = self.load_xdp(IN_XDP)?;
        let id = program.attach_to_if_index(interface.index, mode).map_err(failed)?;
        let link: XdpLink = program.take_link(id).map_err(failed)?;
        // An attachment that is no link would outlive this process: it is undone at once.
        let link = FdLink::try_from(link).map_err(|_| EbpfError::NoLink { hook })?;
        Ok(Attachment { link })
    }

    /// Puts the egress program in place.
    ///
    /// # Errors
    /// As [`attach_ingress`](Self::attach_ingress).
    pub(crate) fn attach_egress(&mut self, interface: &Interface) -> Result<Attachment, EbpfError> {
        self.attach_tc(interface, OUT_TC, TcAttachType::Egress)
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
        self.attach_tc(interface, CATCH, kind)
    }

    /// Puts the program that lets everything pass at the end of a veth opposite a driver-mode XDP
    /// program, for a test bed.
    #[cfg(test)]
    pub(crate) fn attach_stub(&mut self, interface: &Interface) -> Result<Attachment, EbpfError> {
        const NAME: &str = "el_pass";
        let failed = |source| xdp_error(NAME, Hook::XdpNative, interface, source);
        let program = self.load_xdp(NAME)?;
        let id = program.attach_to_if_index(interface.index, XdpMode::Driver).map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let hook = Hook::XdpNative;
        let link = FdLink::try_from(link).map_err(|_| EbpfError::NoLink { hook })?;
        Ok(Attachment { link })
    }

    fn attach_tc(
        &mut self,
        interface: &Interface,
        name: &'static str,
        kind: TcAttachType,
    ) -> Result<Attachment, EbpfError> {
        let failed = |source| attach_error(name, "tc", interface, source);
        let program = self.load_tc(name)?;
        // First of the programs there: they see what this one lets pass, as if it were not there.
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program.attach_with_options(&interface.name, kind, options).map_err(failed)?;
        let link: SchedClassifierLink = program.take_link(id).map_err(failed)?;
        let link = FdLink::try_from(link).map_err(|_| EbpfError::NoLink { hook: Hook::Tc })?;
        Ok(Attachment { link })
    }
}

/// The kernel says `EBUSY` of a slot that is taken, and `EEXIST` of one taken in another mode; not by
/// whom.
fn xdp_error(
    name: &'static str,
    hook: Hook,
    interface: &Interface,
    source: ProgramError,
) -> EbpfError {
    let error = attach_error(name, &hook.to_string(), interface, source);
    match (error.system_error(), error) {
        (Some(libc::EBUSY | libc::EEXIST), EbpfError::Attach { interface: at, source, .. }) => {
            let owner = xdp_occupants(interface.index)
                .unwrap_or_else(|| "a program that is not told by name".to_owned());
            EbpfError::Occupied { interface: at, owner, source }
        }
        (_, error) => error,
    }
}

fn attach_error(
    name: &'static str,
    hook: &str,
    interface: &Interface,
    source: ProgramError,
) -> EbpfError {
    EbpfError::Attach {
        name,
        hook: hook.to_owned(),
        interface: interface.name.clone(),
        source: Box::new(source),
    }
}

#[cfg(test)]
#[path = "attach_tests.rs"]
mod tests;
