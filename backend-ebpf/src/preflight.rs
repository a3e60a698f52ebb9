//! What stands in the way before a program is loaded: named here, because what the kernel would say
//! of its consequences (`EPERM`, `EINVAL`) helps nobody.

use std::net::SocketAddr;

use electrode_transport::EndpointConfig;

use crate::error::EbpfError;
use crate::net::{Interface, InterfaceKind};
use crate::survey::KernelFacts;

/// tcx, by which everything attaches (ARCHITECTURE.md).
const KERNEL_MIN: (u32, u32) = (6, 6);

/// Whether the programs can be loaded and attached there at all, as far as can be told beforehand.
pub(crate) fn check(
    interface: &Interface,
    address: SocketAddr,
    config: &EndpointConfig,
) -> Result<(), EbpfError> {
    check_ethernet(interface)?;
    check_mtu(interface, address, config)?;
    check_kernel(&KernelFacts::read())
}

pub(crate) fn check_ethernet(interface: &Interface) -> Result<(), EbpfError> {
    if interface.mac.is_some() {
        return Ok(());
    }
    let interface_kind = match interface.kind {
        InterfaceKind::Loopback => "the loopback, by which no frame leaves".to_owned(),
        ref other => format!("of kind {other}"),
    };
    Err(EbpfError::NotEthernet { interface: interface.name.clone(), interface_kind })
}

/// A datagram that the system would cut into fragments is none that the programs understand.
fn check_mtu(
    interface: &Interface,
    address: SocketAddr,
    config: &EndpointConfig,
) -> Result<(), EbpfError> {
    let headers = if address.is_ipv6() { 48 } else { 28 };
    let needed = config.datagram_len_max + headers;
    if needed > interface.mtu as usize {
        let (interface, mtu) = (interface.name.clone(), interface.mtu);
        return Err(EbpfError::Mtu { interface, mtu, needed });
    }
    Ok(())
}

pub(crate) fn check_kernel(kernel: &KernelFacts) -> Result<(), EbpfError> {
    let has = kernel.capabilities;
    let missing = match (has.bpf, has.net_admin) {
        (true, true) => None,
        (false, true) => Some("CAP_BPF"),
        (true, false) => Some("CAP_NET_ADMIN"),
        (false, false) => Some("CAP_BPF and CAP_NET_ADMIN"),
    };
    if let Some(missing) = missing {
        return Err(EbpfError::Privileges { missing: missing.to_owned() });
    }
    match kernel.version() {
        Some(version) if version < KERNEL_MIN => {
            Err(EbpfError::OldKernel { release: kernel.release.clone() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use electrode_transport::Obstacle;

    use super::*;
    use crate::survey::Capabilities;

    fn kernel(release: &str, bpf: bool, net_admin: bool) -> KernelFacts {
        let mut capabilities = Capabilities::default();
        capabilities.bpf = bpf;
        capabilities.net_admin = net_admin;
        KernelFacts { release: release.to_owned(), capabilities, ..KernelFacts::read() }
    }

    #[test]
    fn what_is_missing_is_named() {
        let rows = [
            ("6.18.0", false, false, Obstacle::Privileges, "CAP_BPF and CAP_NET_ADMIN"),
            ("6.18.0", true, false, Obstacle::Privileges, "needs CAP_NET_ADMIN"),
            ("6.18.0", false, true, Obstacle::Privileges, "needs CAP_BPF"),
            ("6.1.0-31-cloud", true, true, Obstacle::Kernel, "6.1.0-31-cloud"),
            ("5.15.0", true, true, Obstacle::Kernel, "6.6"),
        ];
        for (release, bpf, net_admin, obstacle, says) in rows {
            let error = check_kernel(&kernel(release, bpf, net_admin)).expect_err(says);
            assert_eq!(error.obstacle(), obstacle, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        for release in ["6.6.0", "6.18.5-generic", "7.0.0", "unreadable"] {
            assert!(check_kernel(&kernel(release, true, true)).is_ok(), "{release}");
        }
    }
}
