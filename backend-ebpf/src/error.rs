//! What can go wrong before the kernel works for us, and what to do about it.

use std::io;

use aya::EbpfError as ObjectError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use electrode_transport::TransportError;

/// Why the eBPF backend cannot run here, or one of its calls failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EbpfError {
    /// The object could not be read or its maps not be made: an old kernel, a missing privilege, or
    /// a memory limit.
    #[error("the kernel did not take the programs' maps: CAP_BPF and CAP_NET_ADMIN are needed")]
    Object(#[source] ObjectError),
    /// The kernel's verifier refused a program. The error holds its log: please report it.
    #[error("the kernel did not take the program {name}")]
    Load {
        /// The program.
        name: &'static str,
        /// What the kernel said, with the verifier's log.
        source: ProgramError,
    },
    /// A map could not be made or used.
    #[error("the map {name} could not be used")]
    Map {
        /// The map.
        name: &'static str,
        /// What the kernel said.
        source: MapError,
    },
    /// The object does not have what this library expects: it is of another version.
    #[error(
        "the object has no {name} as this version of the library knows it: rebuild both together"
    )]
    Foreign {
        /// The program or map.
        name: &'static str,
    },
    /// A command to the programs was not run.
    #[error("the kernel did not run a command")]
    Command {
        /// What the kernel said.
        source: ProgramError,
    },
    /// A system call failed.
    #[error("could not {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl From<EbpfError> for TransportError {
    fn from(error: EbpfError) -> Self {
        let mut why = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            why = format!("{why}: {error}");
            source = error.source();
        }
        Self::Unavailable { backend: "ebpf", why }
    }
}
