use std::io;
use std::path::PathBuf;

/// Why a task ended early. Each message says what to do next.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    #[error("run me as `cargo xtask`: cargo says where the repository is")]
    Alone,
    #[error("there is no mutant {name}. There are: {known}")]
    UnknownMutant { name: String, known: String },
    #[error("mutant {name} is no different from the real programs")]
    SameMutant { name: String },
    #[error("cannot {operation} {path}: {source}")]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("{tool} is missing or unfit ({found}).\n{remedy}")]
    Tool { tool: &'static str, found: String, remedy: String },
    #[error("cannot start `{command}`: {source}")]
    Start { command: String, source: io::Error },
    #[error("`{command}` failed: {why}")]
    Command { command: String, why: String },
    #[error("{path} is not as expected: {why}")]
    Settings { path: PathBuf, why: String },
    #[error("not an ELF object: {0}")]
    Object(#[from] object::Error),
    #[error(
        "the committed object is not what the source says.\n{differences}\n\
         Run `cargo xtask build-ebpf` and commit backend-ebpf/objects/electrode.bpf.o with the \
         change that it belongs to."
    )]
    Stale { differences: String },
}

impl TaskError {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { operation, path: path.into(), source }
    }
}
