//! Loading the object.

use std::os::fd::AsFd;
use std::sync::OnceLock;

use aya::maps::{ArrayOfMaps, Map, MapData, MapError, PerCpuArray, ProgramArray};
use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use electrode_ebpf_abi::{Board, Desk, Endpoint, GROUPS_MAX, Tick};
use electrode_transport::wire::{HEADER_LEN, Key, tag_frame};

use super::mapped::Mapped;
use super::objects::Objects;
use super::ring::Ring;
use crate::error::EbpfError;
use crate::pin::Pins;

/// The programs, as `cargo xtask build-ebpf` made them.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../objects/electrode.bpf.o");

/// Tells one version of the programs from another.
pub(crate) fn object_digest() -> u64 {
    static DIGEST: OnceLock<u64> = OnceLock::new();
    *DIGEST.get_or_init(|| tag_frame(&Key([0; 16]), &[0; HEADER_LEN], OBJECT))
}

/// What is fixed when the programs are loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    pub(crate) endpoint: Endpoint,
    pub(crate) offloads: u32,
    /// Bytes of each CPU's log ring, a power of two of at least a page.
    pub(crate) log_bytes: u32,
    /// Bytes of the notice ring, likewise.
    pub(crate) notice_bytes: u32,
}

/// The programs and maps of one endpoint. They end with it, unless pinned.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) ebpf: Objects,
    pub(crate) boards: Mapped<Board>,
    pub(crate) desk: Mapped<Desk>,
    /// Kept for their descriptors, which become readable on a wake-up.
    pub(crate) ring_maps: Vec<MapData>,
    /// Where all of this is pinned, if it is.
    pub(crate) pins: Option<Pins>,
}

/// The consumers' side of the rings, apart: whoever reads them needs them alone.
#[derive(Debug)]
pub(crate) struct Rings {
    /// One for each CPU.
    pub(crate) logs: Vec<Ring>,
    pub(crate) notices: Ring,
}

pub(crate) const CONTROL: &str = "el_control";
pub(crate) const SEAT: &str = "el_seat";
pub(crate) const IN_XDP: &str = "el_in_xdp";
pub(crate) const IN_TC: &str = "el_in_tc";
/// Where the TC program goes on with a packet of several frames.
const IN_SEGMENTS: &str = "el_in_segments";
pub(crate) const PARTS: &str = "el_parts";
pub(crate) const OUT_TC: &str = "el_out_tc";
pub(crate) const CATCH: &str = "el_catch";

impl Kernel {
    /// Loads the programs and makes the maps. Attaches nothing.
    ///
    /// # Errors
    /// [`EbpfError::Load`] with the verifier's log; [`EbpfError::Map`].
    pub(crate) fn load(settings: &Settings) -> Result<(Self, Rings), EbpfError> {
        Self::load_object(OBJECT, settings)
    }

    pub(crate) fn load_object(
        object: &[u8],
        settings: &Settings,
    ) -> Result<(Self, Rings), EbpfError> {
        let endpoint = bytes_of(&settings.endpoint);
        let mut ebpf = EbpfLoader::new()
            .verifier_log_level(VerifierLogLevel::STATS)
            .override_global("ENDPOINT", &endpoint[..], true)
            .override_global("OFFLOADS", &settings.offloads, true)
            .map_max_entries("el_notices", settings.notice_bytes)
            .load(object)
            .map_err(|source| EbpfError::Object(Box::new(source)))?;
        let mut ring_maps = Vec::new();
        let logs = make_logs(&mut ebpf, settings.log_bytes, &mut ring_maps)?;
        let notices = take_map(&mut ebpf, "el_notices")?;
        let rings = Rings {
            logs,
            notices: Ring::new(notices.fd().as_fd(), settings.notice_bytes).map_err(|error| {
                EbpfError::Io { operation: "map the notice ring", source: error }
            })?,
        };
        ring_maps.push(notices);
        let boards = map_array(&mut ebpf, "el_boards", GROUPS_MAX as usize)?;
        let desk = map_array(&mut ebpf, "el_desk", 1)?;
        let ebpf = Objects::Loaded(Box::new(ebpf));
        let mut kernel = Self { ebpf, boards, desk, ring_maps, pins: None };
        for name in [CONTROL, SEAT] {
            kernel.load_xdp(name)?;
        }
        Ok((kernel, rings))
    }

    /// Has the verifier look at one of the XDP programs.
    pub(crate) fn load_xdp(&mut self, name: &'static str) -> Result<&mut Xdp, EbpfError> {
        let program = self.ebpf.program_mut(name).ok_or(EbpfError::Foreign { name })?;
        let program: &mut Xdp = program.try_into().map_err(|source| load_error(name, source))?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
            Err(source) => Err(load_error(name, source)),
        }
    }

    /// The same for a TC program, and for those that it goes on to.
    pub(crate) fn load_tc(
        &mut self,
        name: &'static str,
    ) -> Result<&mut SchedClassifier, EbpfError> {
        if name == IN_TC {
            self.load_segments()?;
        }
        self.load_classifier(name)
    }

    fn load_segments(&mut self) -> Result<(), EbpfError> {
        let fd = self.load_classifier(IN_SEGMENTS)?.fd();
        let fd = fd.and_then(|fd| fd.try_clone().map_err(ProgramError::IOError));
        let fd = fd.map_err(|source| load_error(IN_SEGMENTS, source))?;
        let map_error = |source| EbpfError::Map { name: PARTS, source: Box::new(source) };
        let parts = self.ebpf.map_mut(PARTS).ok_or(EbpfError::Foreign { name: PARTS })?;
        let mut parts: ProgramArray<_> = parts.try_into().map_err(map_error)?;
        parts.set(0, &fd, 0).map_err(map_error)
    }

    fn load_classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, EbpfError> {
        let program = self.ebpf.program_mut(name).ok_or(EbpfError::Foreign { name })?;
        let program: &mut SchedClassifier =
            program.try_into().map_err(|source| load_error(name, source))?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(program),
            Err(source) => Err(load_error(name, source)),
        }
    }

    /// The number by which the kernel knows a program that is loaded.
    ///
    /// # Errors
    /// [`EbpfError::Foreign`] if there is none; [`EbpfError::Load`] if the kernel does not say.
    pub(crate) fn program_id(&self, name: &'static str) -> Result<u32, EbpfError> {
        let program = self.ebpf.program(name).ok_or(EbpfError::Foreign { name })?;
        Ok(program.info().map_err(|source| load_error(name, source))?.id())
    }

    /// The programs' counters, over all CPUs.
    pub(crate) fn ticks(&self) -> Result<[u64; Tick::COUNT], EbpfError> {
        const NAME: &str = "el_ticks";
        let map = self.ebpf.map(NAME).ok_or(EbpfError::Foreign { name: NAME })?;
        let map_error = |source| EbpfError::Map { name: NAME, source: Box::new(source) };
        let map: PerCpuArray<_, [u64; Tick::COUNT]> = map.try_into().map_err(map_error)?;
        let mut total = [0u64; Tick::COUNT];
        for ticks in map.get(&0, 0).map_err(map_error)?.iter() {
            for (sum, count) in total.iter_mut().zip(ticks) {
                *sum = sum.wrapping_add(*count);
            }
        }
        Ok(total)
    }
}

fn load_error(name: &'static str, source: ProgramError) -> EbpfError {
    EbpfError::Load { name, source: Box::new(source) }
}

fn take_map(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, EbpfError> {
    match ebpf.take_map(name) {
        Some(Map::RingBuf(map) | Map::Array(map)) => Ok(map),
        _ => Err(EbpfError::Foreign { name }),
    }
}

/// A ring for each CPU that can ever run a program.
fn make_logs(
    ebpf: &mut Ebpf,
    bytes: u32,
    ring_maps: &mut Vec<MapData>,
) -> Result<Vec<Ring>, EbpfError> {
    const NAME: &str = "el_logs";
    const RINGBUF: u32 = 27;
    let map_error = |source: MapError| EbpfError::Map { name: NAME, source: Box::new(source) };
    let cpus = aya::util::nr_cpus()
        .map_err(|(_, source)| EbpfError::Io { operation: "count the CPUs", source })?;
    let outer = ebpf.map_mut(NAME).ok_or(EbpfError::Foreign { name: NAME })?;
    let mut outer: ArrayOfMaps<_, MapData> = outer.try_into().map_err(map_error)?;
    let mut rings = Vec::with_capacity(cpus);
    for cpu in 0..outer.len().min(cpus as u32) {
        let definition = aya_obj::Map::new_from_params(RINGBUF, 0, 0, bytes, 0);
        let map = MapData::create(definition, "el_log", None).map_err(map_error)?;
        outer.set(cpu, &map, 0).map_err(map_error)?;
        let ring = Ring::new(map.fd().as_fd(), bytes)
            .map_err(|source| EbpfError::Io { operation: "map a log ring", source })?;
        rings.push(ring);
        ring_maps.push(map);
    }
    Ok(rings)
}

fn map_array<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    entries: usize,
) -> Result<Mapped<T>, EbpfError> {
    let map = match ebpf.map(name) {
        Some(Map::Array(map)) => map,
        _ => return Err(EbpfError::Foreign { name }),
    };
    Mapped::new(map.fd().as_fd(), entries)
        .map_err(|source| EbpfError::Io { operation: "map an array", source })
}

/// The endpoint as the programs' global has it.
fn bytes_of(endpoint: &Endpoint) -> [u8; size_of::<Endpoint>()] {
    let mut bytes = [0; size_of::<Endpoint>()];
    let fields: [&[u8]; 6] = [
        &endpoint.address,
        &endpoint.key,
        &endpoint.body_len_max.to_ne_bytes(),
        &endpoint.port,
        &[endpoint.ipv6],
        &[endpoint.keyed],
    ];
    let mut at = 0;
    for field in fields {
        bytes[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    bytes
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
