//! The loads under test: each compiles to its own program, because the verifier drops what it rules out.

use electrode_ebpf_abi::{Endpoint, offload};

use crate::kernel::Settings;

/// One way to load the programs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) name: &'static str,
    is_ipv6: bool,
    is_keyed: bool,
    offloads: u32,
    body_len_max: u32,
    log_bytes: u32,
}

pub(super) const PLAIN: Load = Load {
    name: "IPv4",
    is_ipv6: false,
    is_keyed: false,
    offloads: offload::ALL,
    body_len_max: 8_900,
    log_bytes: 1 << 21,
};

pub(super) const KEYED: Load = Load { name: "IPv4 with a key", is_keyed: true, ..PLAIN };

pub(super) const SIX: Load = Load { name: "IPv6", is_ipv6: true, ..PLAIN };

/// A ring that is soon full.
const SIX_KEYED: Load = Load {
    name: "IPv6 with a key and a small ring",
    is_ipv6: true,
    is_keyed: true,
    log_bytes: 1 << 15,
    ..PLAIN
};

/// A ring that holds next to nothing.
pub(super) const SMALL: Load = Load {
    name: "IPv4 with the smallest ring, acknowledging alone",
    offloads: offload::ACKNOWLEDGE,
    body_len_max: 1_400,
    log_bytes: 1 << 12,
    ..PLAIN
};

pub(super) const COUNTING: Load = Load {
    name: "IPv4, counting and copying alone",
    offloads: offload::QUORUM | offload::BROADCAST,
    ..PLAIN
};

pub(super) const LOADS: [Load; 6] = [PLAIN, KEYED, SIX, SIX_KEYED, SMALL, COUNTING];

impl Load {
    pub(super) fn settings(&self) -> Settings {
        let mut address = [0; 16];
        if self.is_ipv6 {
            address = [0xfd, 0, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xab, 7];
        } else {
            address[..4].copy_from_slice(&[10, 200, 3, 7]);
        }
        Settings {
            endpoint: Endpoint {
                address,
                key: if self.is_keyed { *b"sixteen bytes ok" } else { [0; 16] },
                body_len_max: self.body_len_max,
                port: 7_411_u16.to_be_bytes(),
                ipv6: self.is_ipv6.into(),
                keyed: self.is_keyed.into(),
            },
            offloads: self.offloads,
            log_bytes: self.log_bytes,
            notice_bytes: 1 << 12,
        }
    }
}
