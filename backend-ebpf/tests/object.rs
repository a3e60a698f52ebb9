//! The committed object: the programs, maps and globals that user space relies on, by name and shape,
//! and nothing that tells on which machine it was built. No privileges needed.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]

use std::collections::BTreeMap;

use aya_obj::generated::bpf_map_type::{
    BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_PERCPU_ARRAY,
    BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_RINGBUF,
};
use electrode_ebpf_abi::{Board, CPUS_MAX, Desk, Endpoint, GROUPS_MAX, Group, Tick};
use electrode_transport::wire::Header;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../objects/electrode.bpf.o");

/// `BPF_F_MMAPABLE`, Linux 5.5.
const MAPPED: u32 = 1 << 10;
/// The stand-in for a ring's size. User space sets the real one.
const RING: u32 = 1 << 16;
const KEY: u32 = 4;

fn size<T>() -> u32 {
    size_of::<T>().try_into().unwrap()
}

#[test]
fn programs_are_of_their_kinds() {
    let parsed = aya_obj::Object::parse(OBJECT).unwrap();
    let found: BTreeMap<_, _> = parsed
        .programs
        .iter()
        .map(|(name, program)| (name.as_str(), format!("{:?}", program.section)))
        .collect();
    let xdp = "Xdp { frags: true, attach_type: Interface }".to_owned();
    let tc = "SchedClassifier".to_owned();
    let expected = BTreeMap::from([
        ("el_in_xdp", xdp.clone()),
        ("el_in_tc", tc.clone()),
        ("el_in_segments", tc.clone()),
        ("el_out_tc", tc.clone()),
        ("el_control", xdp.clone()),
        ("el_seat", xdp.clone()),
        ("el_pass", xdp),
        ("el_inject", tc.clone()),
        ("el_catch", tc),
    ]);
    assert_eq!(found, expected);
    // Some of the helpers are for GPL-compatible programs alone.
    assert_eq!(parsed.license.as_c_str(), c"Dual MIT/GPL");
}

#[test]
fn maps_have_the_layouts_of_user_space() {
    let parsed = aya_obj::Object::parse(OBJECT).unwrap();
    let found: BTreeMap<_, _> = parsed
        .maps
        .iter()
        .filter(|(name, _)| name.starts_with("el_"))
        .map(|(name, map)| {
            let sizes = (map.key_size(), map.value_size());
            (name.as_str(), (map.map_type(), sizes, map.max_entries(), map.map_flags()))
        })
        .collect();
    // A group lies behind its lock, which is padded to the group's alignment.
    let cell = 8 + size::<Group>();
    let ticks = 8 * u32::try_from(Tick::COUNT).unwrap();
    // The longest body with its header, to the word: larger than any frame of a 9000-byte link.
    let scratch = 8 * 1_152;
    let batch = 8 * 5 + size::<Header>();
    let expected = [
        ("el_places", BPF_MAP_TYPE_HASH, (KEY, 4), GROUPS_MAX, 0),
        ("el_hints", BPF_MAP_TYPE_ARRAY, (KEY, 4), 4_096, 0),
        ("el_groups", BPF_MAP_TYPE_ARRAY, (KEY, cell), GROUPS_MAX, 0),
        ("el_boards", BPF_MAP_TYPE_ARRAY, (KEY, size::<Board>()), GROUPS_MAX, MAPPED),
        ("el_desk", BPF_MAP_TYPE_ARRAY, (KEY, size::<Desk>()), 1, MAPPED),
        ("el_ticks", BPF_MAP_TYPE_PERCPU_ARRAY, (KEY, ticks), 1, 0),
        ("el_scratch", BPF_MAP_TYPE_PERCPU_ARRAY, (KEY, scratch), 1, 0),
        // Four words of identity, whether there is a reply, and the reply.
        ("el_batch", BPF_MAP_TYPE_PERCPU_ARRAY, (KEY, batch), 1, 0),
        ("el_parts", BPF_MAP_TYPE_PROG_ARRAY, (KEY, 4), 1, 0),
        ("el_logs", BPF_MAP_TYPE_ARRAY_OF_MAPS, (KEY, 4), CPUS_MAX, 0),
        ("el_notices", BPF_MAP_TYPE_RINGBUF, (0, 0), RING, 0),
    ]
    .map(|(name, kind, sizes, entries, flags)| (name, (kind as u32, sizes, entries, flags)));
    assert_eq!(found, BTreeMap::from(expected));
    let ring = parsed.maps["el_logs"].inner().unwrap();
    assert_eq!(ring.map_type(), BPF_MAP_TYPE_RINGBUF as u32);
}

#[test]
fn globals_are_there_to_be_set() {
    let file = object::File::parse(OBJECT).unwrap();
    let rodata = file.section_by_name(".rodata").unwrap().index();
    for (name, len) in [("ENDPOINT", size::<Endpoint>()), ("OFFLOADS", size::<u32>())] {
        let symbol = file.symbol_by_name(name).unwrap();
        assert_eq!((symbol.size(), symbol.section_index()), (len.into(), Some(rodata)), "{name}");
    }
}

/// The strings of `.BTF`, after the header and the types: `struct btf_header` has the header's length
/// at byte 4 and the strings' place behind it at byte 16.
fn strings(btf: &[u8]) -> Vec<&str> {
    let word = |at: usize| u32::from_le_bytes(btf[at..at + 4].try_into().unwrap()) as usize;
    let strings = &btf[word(4) + word(16)..];
    strings.split(|&byte| byte == 0).map(|text| str::from_utf8(text).unwrap()).collect()
}

/// What `cargo xtask build-ebpf` renames the folders to, and nothing else.
#[test]
fn no_path_tells_where_it_was_built() {
    let file = object::File::parse(OBJECT).unwrap();
    let btf = file.section_by_name(".BTF").unwrap().data().unwrap();
    let mut sources = 0;
    for text in strings(btf) {
        assert!(!text.starts_with('/'), "{text}");
        if text.ends_with(".rs") {
            sources += 1;
            let known = ["electrode/", "rust/", "crates/"];
            assert!(known.iter().any(|prefix| text.starts_with(prefix)), "{text}");
        }
    }
    assert!(sources > 6, "{sources} sources: those are not the strings");
    assert!(!OBJECT.windows(10).any(|part| part == b"/registry/"));
    let debugging = file.sections().find(|section| section.name().unwrap().starts_with(".debug"));
    assert!(debugging.is_none(), "{debugging:?}: its strings are paths as well");
}
