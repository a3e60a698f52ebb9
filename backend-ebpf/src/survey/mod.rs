//! What this machine offers, before any program of ours is loaded.

mod device;
mod finding;
mod kernel;
mod occupants;
mod report;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::link::LinkMessage;
use serde::Serialize;

pub use device::{DeviceFacts, Offloads};
pub use finding::{Finding, Severity};
pub use kernel::{Capabilities, KernelFacts};
pub use occupants::{Filter, Occupants, Program, TcOccupants, XdpMode, XdpOccupant};
pub use report::{HookReport, Proof, Report};

pub(crate) use self::occupants::xdp_occupants;
use crate::error::EbpfError;
use crate::hook::Hook;
use crate::net::{Interface, Requests, ask_link};

/// What can be known of an interface and its kernel without loading a program, and what follows.
///
/// Nothing is changed by looking. Minimum kernel: any. Capabilities: none; without `CAP_NET_ADMIN`
/// and `CAP_SYS_ADMIN` some of it stays unknown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Survey {
    /// The address that it was made for; none if the interface has none.
    pub address: Option<IpAddr>,
    /// The longest datagram that the endpoint would send, in bytes.
    pub datagram_len_max: usize,
    /// The kernel and the process's rights.
    pub kernel: KernelFacts,
    /// The interface.
    pub device: DeviceFacts,
    /// Whose programs are on it.
    pub occupants: Occupants,
    /// What follows, the gravest first.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// Looks at the interface that has this address, for an endpoint that sends datagrams of up to
    /// this many bytes. It is looked for in the network namespace of the calling thread.
    ///
    /// # Errors
    /// [`EbpfError::AddressNotLocal`]; [`EbpfError::NoSuchInterface`] if it vanishes meanwhile;
    /// [`EbpfError::Netlink`] if the kernel's tables cannot be read.
    pub fn of(address: IpAddr, datagram_len_max: usize) -> Result<Self, EbpfError> {
        Self::look(&Interface::of_address(address)?, Some(address), datagram_len_max)
    }

    /// The same for the interface of this name, and the first of its addresses.
    ///
    /// # Errors
    /// [`EbpfError::NoSuchInterface`]; [`EbpfError::Netlink`].
    pub fn of_interface(name: &str, datagram_len_max: usize) -> Result<Self, EbpfError> {
        let interface = Interface::by_name(name)?;
        let address = interface.addresses()?.into_iter().next();
        Self::look(&interface, address, datagram_len_max)
    }

    pub(crate) fn look(
        interface: &Interface,
        address: Option<IpAddr>,
        datagram_len_max: usize,
    ) -> Result<Self, EbpfError> {
        let failed = |operation| move |source| EbpfError::Netlink { operation, source };
        let mut requests = Requests::open().map_err(failed("open a socket"))?;
        let mut question = LinkMessage::default();
        question.header.index = interface.index;
        let link = ask_link(&mut requests, question).map_err(failed("read an interface"))?;
        let mut survey = Self {
            address,
            datagram_len_max,
            kernel: KernelFacts::read(),
            device: DeviceFacts::read(&requests, interface, &link),
            occupants: Occupants::read(&mut requests, interface, &link),
            findings: Vec::new(),
        };
        survey.findings = finding::findings(&survey);
        Ok(survey)
    }

    /// Why this hook cannot work here, if that is certain already, and what would help. `None` means
    /// only that nothing speaks against it: try it.
    #[must_use]
    pub fn excluded(&self, hook: Hook) -> Option<String> {
        self.excluding(hook).map(Finding::sentence)
    }

    /// What rules this hook out.
    pub(crate) fn excluding(&self, hook: Hook) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.rules_out.contains(&hook))
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.kernel, self.device, self.occupants)?;
        for finding in &self.findings {
            writeln!(f, "- {finding}")?;
        }
        Ok(())
    }
}
