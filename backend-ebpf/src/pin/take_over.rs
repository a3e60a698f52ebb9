//! Making pins, and taking them over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::Ordering;

use aya::maps::{Map, MapData, MapError};
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya_obj::programs::xdp::XdpAttachType;
use electrode_ebpf_abi::{Board, GROUPS_MAX};

use super::charter::Charter;
use super::folder::Folder;
use super::pins::{Pins, damaged, ingress_name, pin};
use super::{Dormant, found};
use crate::error::EbpfError;
use crate::hook::Hook;
use crate::kernel::{
    CONTROL, IN_TC, Kernel, Mapped, OUT_TC, Objects, PARTS, Ring, Rings, SEAT, Settings,
};

/// What an endpoint starts with.
pub(crate) struct Start {
    pub(crate) kernel: Kernel,
    pub(crate) rings: Rings,
    /// The groups that an earlier process left, by place.
    pub(crate) dormant: BTreeMap<u32, Dormant>,
    /// Where the ingress program belongs.
    pub(crate) hook: Hook,
}

impl Start {
    /// Nothing is pinned, nothing is found.
    pub(crate) fn unpinned(hook: Hook, (kernel, rings): (Kernel, Rings)) -> Self {
        Self { kernel, rings, dormant: BTreeMap::new(), hook }
    }
}

const BOARDS: &str = "el_boards";
const DESK: &str = "el_desk";
const NOTICES: &str = "el_notices";
const TICKS: &str = "el_ticks";
pub(super) const GROUPS: &str = "el_groups";

fn log_name(cpu: usize) -> String {
    format!("log_{cpu}")
}

/// Takes over what is pinned for the address, or has the programs loaded and pins them, for the hook
/// that `resolve` finds. Attaches nothing.
///
/// # Errors
/// What [`Folder::claim`] says; [`EbpfError::PinsDiffer`] and [`EbpfError::PinsDamaged`]: then nothing
/// has changed, and what is pinned stays. As [`Kernel::load`], and [`EbpfError::Pin`]: then nothing is
/// pinned.
pub(crate) fn start(
    folder: &Path,
    address: SocketAddr,
    charter: Charter,
    settings: &Settings,
    resolve: impl FnOnce() -> Result<Hook, EbpfError>,
    load: impl FnOnce(&Settings) -> Result<(Kernel, Rings), EbpfError>,
) -> Result<Start, EbpfError> {
    let folder = Folder::claim(folder, address)?;
    if folder.is_live() {
        take_over(folder, charter, settings)
    } else {
        make(folder, charter, resolve()?, load(settings)?)
    }
}

fn make(
    folder: Folder,
    mut charter: Charter,
    hook: Hook,
    (mut kernel, rings): (Kernel, Rings),
) -> Result<Start, EbpfError> {
    let pins = Pins::make(folder)?;
    let new = pins.folder().prepare()?;
    for name in [GROUPS, BOARDS, DESK, TICKS] {
        let map = kernel.ebpf.map(name).ok_or(EbpfError::Foreign { name })?;
        pin(name, map.pin(new.join(name)))?;
    }
    let (notices, logs) =
        kernel.ring_maps.split_last().ok_or(EbpfError::Foreign { name: NOTICES })?;
    pin(NOTICES, notices.pin(new.join(NOTICES)))?;
    for (cpu, log) in logs.iter().enumerate() {
        pin("a log ring", log.pin(new.join(log_name(cpu))))?;
    }
    let ingress = ingress_name(hook);
    for name in [CONTROL, SEAT, ingress, OUT_TC] {
        if name == IN_TC || name == OUT_TC {
            kernel.load_tc(name)?;
        } else {
            kernel.load_xdp(name)?;
        }
        let program = kernel.ebpf.program_mut(name).ok_or(EbpfError::Foreign { name })?;
        pin(name, program.pin(new.join(name)))?;
    }
    if ingress == IN_TC {
        // Only for as long as somebody has it does it hold what the ingress program goes on to.
        let map = kernel.ebpf.map(PARTS).ok_or(EbpfError::Foreign { name: PARTS })?;
        pin(PARTS, map.pin(new.join(PARTS)))?;
    }
    charter.settle(hook);
    pins.write_charter(&charter, &kernel)?;
    pins.folder().publish()?;
    kernel.pins = Some(pins);
    Ok(Start { kernel, rings, dormant: BTreeMap::new(), hook })
}

fn take_over(
    folder: Folder,
    mut charter: Charter,
    settings: &Settings,
) -> Result<Start, EbpfError> {
    let desk = Mapped::new(find_map(&folder, DESK)?.fd().as_fd(), 1).map_err(mapping_failed)?;
    charter.compare_stamp(&desk, folder.path())?;
    let pins = Pins::find(folder)?;
    let folder = pins.folder();
    let hook = charter.adopt(pins.charter());
    let hook = hook.ok_or_else(|| damaged(folder, "the charter names no hook".to_owned()))?;
    charter.compare(pins.charter(), folder.path())?;
    let boards = Mapped::new(find_map(folder, BOARDS)?.fd().as_fd(), GROUPS_MAX as usize)
        .map_err(mapping_failed)?;
    let (rings, ring_maps) = find_rings(folder, settings)?;
    let mut maps = BTreeMap::new();
    for name in [GROUPS, TICKS] {
        let map = Map::from_map_data(find_map(folder, name)?);
        maps.insert(name, map.map_err(|source| EbpfError::Map { name, source: Box::new(source) })?);
    }
    if hook == Hook::Tc {
        // To know that it is there: the pin holds it.
        find_map(folder, PARTS)?;
    }
    let ebpf = Objects::Found { programs: find_programs(folder, hook)?, maps };
    // The last owner may have died asleep.
    desk.sleepers().store(0, Ordering::SeqCst);
    desk.nappers().store(0, Ordering::SeqCst);
    let dormant = find_groups(&pins, &ebpf, &boards)?;
    tracing::info!(path = %folder.path().display(), groups = dormant.len(), "pins taken over");
    let kernel = Kernel { ebpf, boards, desk, ring_maps, pins: Some(pins) };
    Ok(Start { kernel, rings, dormant, hook })
}

fn mapping_failed(source: std::io::Error) -> EbpfError {
    EbpfError::Io { operation: "map a pinned array", source }
}

fn find_map(folder: &Folder, name: &str) -> Result<MapData, EbpfError> {
    let missing = |error: MapError| damaged(folder, format!("{name} is missing ({error})"));
    MapData::from_pin(folder.live(name)).map_err(missing)
}

fn find_rings(folder: &Folder, settings: &Settings) -> Result<(Rings, Vec<MapData>), EbpfError> {
    let ring = |map: &MapData, bytes| {
        Ring::new(map.fd().as_fd(), bytes)
            .map_err(|source| EbpfError::Io { operation: "map a pinned ring", source })
    };
    let (mut logs, mut maps) = (Vec::new(), Vec::new());
    while folder.has(&log_name(logs.len())) {
        let map = find_map(folder, &log_name(logs.len()))?;
        logs.push(ring(&map, settings.log_bytes)?);
        maps.push(map);
    }
    let cpus = aya::util::nr_cpus()
        .map_err(|(_, source)| EbpfError::Io { operation: "count the CPUs", source })?;
    if logs.len() != cpus.min(electrode_ebpf_abi::CPUS_MAX as usize) {
        return Err(damaged(folder, format!("{} log rings for {cpus} CPUs", logs.len())));
    }
    let map = find_map(folder, NOTICES)?;
    let notices = ring(&map, settings.notice_bytes)?;
    maps.push(map);
    Ok((Rings { logs, notices }, maps))
}

fn find_programs(
    folder: &Folder,
    hook: Hook,
) -> Result<BTreeMap<&'static str, Program>, EbpfError> {
    let mut programs = BTreeMap::new();
    for name in [CONTROL, SEAT, ingress_name(hook), OUT_TC] {
        let path = folder.live(name);
        let program = if name == IN_TC || name == OUT_TC {
            SchedClassifier::from_pin(path).map(Program::SchedClassifier)
        } else {
            Xdp::from_pin(path, XdpAttachType::Interface).map(Program::Xdp)
        };
        let missing = |error: ProgramError| damaged(folder, format!("{name} is missing ({error})"));
        programs.insert(name, program.map_err(missing)?);
    }
    Ok(programs)
}

/// Every group that is open in the kernel, with its shelf.
fn find_groups(
    pins: &Pins,
    ebpf: &Objects,
    boards: &Mapped<Board>,
) -> Result<BTreeMap<u32, Dormant>, EbpfError> {
    let mut dormant = BTreeMap::new();
    for place in 0..GROUPS_MAX {
        let group = found::group(ebpf, place)?;
        if group.is_open {
            let shelf = pins.find_shelf(place, group.log_limit, boards.released(place))?;
            dormant.insert(place, Dormant { group: group.id, shelf: Box::new(shelf) });
        }
    }
    pins.sweep(|place| dormant.contains_key(&place))?;
    Ok(dormant)
}
