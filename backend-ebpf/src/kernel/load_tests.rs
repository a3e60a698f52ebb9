//! Objects that must not load, and what is said of each.

use std::error::Error;

use aya::programs::ProgramError;
use electrode_ebpf_abi::Endpoint;
use electrode_transport::{Obstacle, TransportError};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use super::*;
use crate::privileged::is_privileged;

fn load(object: &[u8]) -> EbpfError {
    let settings = Settings {
        endpoint: Endpoint { body_len_max: 1_380, ..Endpoint::default() },
        offloads: 0,
        log_bytes: 1 << 16,
        notice_bytes: 1 << 16,
    };
    Kernel::load_object(object, &settings).map(drop).expect_err("an object that must not load")
}

/// The object with other bytes at the beginning of a program.
fn with_code(name: &str, code: &[u8]) -> Vec<u8> {
    let file = object::File::parse(OBJECT).expect("the object");
    let symbol = file.symbol_by_name(name).expect("the program");
    let section = symbol.section_index().expect("its section");
    let section = file.section_by_index(section).expect("its section");
    let (start, _) = section.file_range().expect("its bytes");
    let at = (start + symbol.address() - section.address()) as usize;
    let mut bytes = OBJECT.to_vec();
    bytes[at..at + code.len()].copy_from_slice(code);
    bytes
}

#[test]
fn what_the_verifier_says_is_kept() {
    if !is_privileged("loading programs") {
        return;
    }
    // `BPF_EXIT` before anything was returned.
    let error = load(&with_code(CONTROL, &[0x95, 0, 0, 0, 0, 0, 0, 0]));
    let EbpfError::Load { name: CONTROL, source } = &error else { panic!("{error}") };
    let ProgramError::LoadError { verifier_log, .. } = &**source else { panic!("{source}") };
    assert!(!verifier_log.to_string().is_empty() && error.source().is_some());
    let log = verifier_log.to_string();
    assert_eq!(error.obstacle(), Obstacle::Verifier);
    let line = log.lines().next().expect("a first line").to_owned();
    let TransportError::Unavailable { reason: Obstacle::Verifier, why, .. } = error.into() else {
        panic!("another error")
    };
    assert!(why.contains(CONTROL) && why.contains(&line), "{why}");
}

#[test]
fn an_object_of_another_version_is_told() {
    if !is_privileged("making maps") {
        return;
    }
    let mut renamed = OBJECT.to_vec();
    let names: Vec<_> = OBJECT.windows(10).enumerate().filter(|it| it.1 == b"el_control").collect();
    for (at, _) in names {
        renamed[at..at + 10].copy_from_slice(b"el_another");
    }
    let error = load(&renamed);
    assert!(matches!(error, EbpfError::Foreign { name: CONTROL }), "{error}");
    assert_eq!(error.obstacle(), Obstacle::Version);
    assert!(error.to_string().contains("rebuild both together"), "{error}");
}
