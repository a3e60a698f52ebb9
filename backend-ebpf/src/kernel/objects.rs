//! Programs and maps by name, whoever loaded them.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::Map;
use aya::programs::Program;

/// The programs and maps of an endpoint.
#[derive(Debug)]
pub(crate) enum Objects {
    /// This process loaded them.
    Loaded(Box<Ebpf>),
    /// An earlier one did, and this one found them pinned: those that user space needs.
    Found { programs: BTreeMap<&'static str, Program>, maps: BTreeMap<&'static str, Map> },
}

impl Objects {
    #[inline]
    pub(crate) fn program(&self, name: &str) -> Option<&Program> {
        match self {
            Self::Loaded(ebpf) => ebpf.program(name),
            Self::Found { programs, .. } => programs.get(name),
        }
    }

    pub(crate) fn program_mut(&mut self, name: &str) -> Option<&mut Program> {
        match self {
            Self::Loaded(ebpf) => ebpf.program_mut(name),
            Self::Found { programs, .. } => programs.get_mut(name),
        }
    }

    pub(crate) fn map(&self, name: &str) -> Option<&Map> {
        match self {
            Self::Loaded(ebpf) => ebpf.map(name),
            Self::Found { maps, .. } => maps.get(name),
        }
    }

    pub(crate) fn map_mut(&mut self, name: &str) -> Option<&mut Map> {
        match self {
            Self::Loaded(ebpf) => ebpf.map_mut(name),
            Self::Found { maps, .. } => maps.get_mut(name),
        }
    }
}
