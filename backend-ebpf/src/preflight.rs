//! What stands in the way before a program is loaded: named here, because what the kernel would say
//! of its consequences (`EPERM`, `EINVAL`) helps nobody.

use std::fs;
use std::net::SocketAddr;

use electrode_ebpf_abi::BODY_LEN_MAX;
use electrode_transport::EndpointConfig;
use electrode_transport::wire::HEADER_LEN;

use crate::error::EbpfError;
use crate::net::{Interface, InterfaceKind};
use crate::survey::KernelFacts;

/// tcx, by which everything attaches (ARCHITECTURE.md).
const KERNEL_MIN: (u32, u32) = (6, 6);

/// Where a process's clocks are, seen from the kernel's (Linux 5.6).
const TIME_OFFSETS: &str = "/proc/self/timens_offsets";

/// The longest datagram whose body fits a record of the log.
pub(crate) const DATAGRAM_LEN_MAX: usize = HEADER_LEN + BODY_LEN_MAX as usize;

/// Whether the programs can be loaded and attached there at all, as far as can be told beforehand.
pub(crate) fn check(
    interface: &Interface,
    address: SocketAddr,
    config: &EndpointConfig,
) -> Result<(), EbpfError> {
    check_ethernet(interface)?;
    check_mtu(interface, address, config)?;
    check_len(config)?;
    check_clock(&fs::read_to_string(TIME_OFFSETS).unwrap_or_default())?;
    check_kernel(&KernelFacts::read())
}

/// A longer body fits no record of the log, and nobody would ever store it.
fn check_len(config: &EndpointConfig) -> Result<(), EbpfError> {
    let max = DATAGRAM_LEN_MAX;
    if config.datagram_len_max > max {
        return Err(EbpfError::DatagramTooLong { len: config.datagram_len_max, max });
    }
    Ok(())
}

/// Leases end on the clock that the programs read, which no time namespace shifts (time_namespaces(7)).
fn check_clock(offsets: &str) -> Result<(), EbpfError> {
    let of = |line: &str| {
        let mut words = line.split_whitespace();
        let is_it = words.next() == Some("monotonic");
        let mut number = || words.next()?.parse::<i64>().ok();
        is_it.then(|| Some((number()?, number()?))).flatten()
    };
    match offsets.lines().find_map(of) {
        None | Some((0, 0)) => Ok(()),
        Some((seconds, nanos)) => Err(EbpfError::TimeNamespace { seconds, nanos }),
    }
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
    let needed = packet_len_max(address, config);
    if needed > interface.mtu as usize {
        let (interface, mtu) = (interface.name.clone(), interface.mtu);
        return Err(EbpfError::Mtu { interface, mtu, needed });
    }
    Ok(())
}

/// The longest packet with its IP and UDP headers, in bytes.
pub(crate) const fn packet_len_max(address: SocketAddr, config: &EndpointConfig) -> usize {
    config.datagram_len_max + if address.is_ipv6() { 48 } else { 28 }
}

pub(crate) fn check_kernel(kernel: &KernelFacts) -> Result<(), EbpfError> {
    let has = kernel.capabilities;
    let needed = [
        (has.bpf, "CAP_BPF"),
        // For pointer arithmetic that the verifier allows to nobody else, on account of speculation.
        (has.perfmon, "CAP_PERFMON"),
        (has.net_admin, "CAP_NET_ADMIN"),
    ];
    let missing: Vec<_> = needed.into_iter().filter(|(has, _)| !has).map(|(_, it)| it).collect();
    if !missing.is_empty() {
        return Err(EbpfError::Privileges { missing: missing.join(", ") });
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

    fn kernel(release: &str, [bpf, perfmon, net_admin]: [bool; 3]) -> KernelFacts {
        let capabilities = Capabilities { bpf, perfmon, net_admin, ..Capabilities::default() };
        KernelFacts { release: release.to_owned(), capabilities, ..KernelFacts::read() }
    }

    #[test]
    fn a_clock_of_its_own_is_refused() {
        let shifted = "monotonic       86400         0\nboottime            0         0\n";
        let error = check_clock(shifted).expect_err("a day ahead");
        assert!(error.to_string().contains("86400 s"), "{error}");
        let behind = "monotonic          -60         0\nboottime          -60         0\n";
        assert!(check_clock(behind).is_err());
        let error = check_clock("monotonic 0 900000000\n").expect_err("nearly a second ahead");
        assert!(error.to_string().contains("0 s and 900000000 ns"), "{error}");
        for plain in ["monotonic 0 0\nboottime 86400 0\n", "", "monotonic x\n"] {
            assert!(check_clock(plain).is_ok(), "{plain}");
        }
        assert!(check_clock(&fs::read_to_string(TIME_OFFSETS).expect("Linux 5.6")).is_ok());
    }

    #[test]
    fn a_datagram_beyond_every_record_is_refused() {
        use electrode_transport::{ClusterId, NodeId};

        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = EndpointConfig::new(ClusterId(1), NodeId(1), address);
        config.datagram_len_max = DATAGRAM_LEN_MAX;
        assert!(check_len(&config).is_ok());
        config.datagram_len_max += 1;
        let error = check_len(&config).expect_err("one byte more");
        assert_eq!(error.obstacle(), Obstacle::Limit);
        assert!(error.to_string().contains("9056 or less"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = "needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN";
        let rows = [
            ("6.18.0", [false, false, false], Obstacle::Privileges, none),
            ("6.18.0", [true, true, false], Obstacle::Privileges, "needs CAP_NET_ADMIN"),
            ("6.18.0", [true, false, true], Obstacle::Privileges, "needs CAP_PERFMON"),
            ("6.18.0", [false, true, true], Obstacle::Privileges, "needs CAP_BPF"),
            ("6.1.0-31-cloud", [true; 3], Obstacle::Kernel, "6.1.0-31-cloud"),
            ("5.15.0", [true; 3], Obstacle::Kernel, "6.6"),
        ];
        for (release, has, obstacle, says) in rows {
            let error = check_kernel(&kernel(release, has)).expect_err(says);
            assert_eq!(error.obstacle(), obstacle, "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
        for release in ["6.6.0", "6.18.5-generic", "7.0.0", "unreadable"] {
            assert!(check_kernel(&kernel(release, [true; 3])).is_ok(), "{release}");
        }
    }
}
