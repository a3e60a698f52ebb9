//! Which hook works, found out by trying.

use std::net::IpAddr;

use electrode_transport::EndpointConfig;

use crate::echo;
use crate::error::EbpfError;
use crate::hook::Hook;
use crate::net::Interface;
use crate::options::HookChoice;
use crate::survey::{Report, Survey};

/// What to probe: reads as an address if it is one, else as an interface's name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProbeTarget {
    /// The interface that has this address.
    Address(IpAddr),
    /// The interface of this name.
    Interface(String),
}

impl From<&str> for ProbeTarget {
    fn from(word: &str) -> Self {
        word.parse().map_or_else(|_| Self::Interface(word.to_owned()), Self::Address)
    }
}

impl From<IpAddr> for ProbeTarget {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

/// Surveys an interface of the calling thread's network namespace and tries every hook on it, for
/// endpoints that send datagrams of up to this many bytes
/// ([`EndpointConfig::datagram_len_max`]).
///
/// Each test loads the programs for an endpoint that nobody knows of, attaches them, has a frame go in
/// and its answer come out, and detaches them again; see [`Proof`](crate::Proof) for what can be shown
/// of which hook. Other traffic is passed untouched, and nothing reaches the wire, except that the
/// answer from generic XDP leaves once, addressed to the interface itself, which no switch forwards. A
/// second for each hook at most. Attaching in the driver makes some network cards restart their
/// queues, as it would for good. A process that dies in the middle leaves nothing attached.
///
/// Minimum kernel: any; below 6.6 it says so. Capabilities: `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN`; without them
/// it says so.
///
/// # Errors
/// [`EbpfError::NoSuchInterface`], [`EbpfError::AddressNotLocal`], [`EbpfError::Netlink`]. That no hook
/// works is no error but a report.
pub fn probe(target: impl Into<ProbeTarget>, datagram_len_max: usize) -> Result<Report, EbpfError> {
    let interface = match target.into() {
        ProbeTarget::Address(address) => (Interface::of_address(address)?, Some(address)),
        ProbeTarget::Interface(name) => {
            let interface = Interface::by_name(&name)?;
            let address = interface.addresses()?.into_iter().next();
            (interface, address)
        }
    };
    let (interface, address) = interface;
    let survey = Survey::look(&interface, address, datagram_len_max)?;
    Ok(Report::new(survey, |hook| echo::test(&interface, address, hook)))
}

impl HookChoice {
    /// The hook that it means on this interface.
    pub(crate) fn resolve(
        self,
        interface: &Interface,
        address: IpAddr,
        config: &EndpointConfig,
    ) -> Result<Hook, EbpfError> {
        match self {
            Self::Only(hook) => Ok(hook),
            Self::Auto => {
                let survey = Survey::look(interface, Some(address), config.datagram_len_max)?;
                let test = |hook| echo::test(interface, Some(address), hook);
                let report = Report::until_one_works(survey, test);
                for tried in &report.hooks {
                    tracing::debug!(interface = interface.name, "{tried}");
                }
                report.into_hook()
            }
        }
    }
}
