//! What a pinned endpoint was made for: everything that its programs and maps have fixed in them.
//!
//! The layout version, the cluster and the node are on the desk, the rest is in a map of its own.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use electrode_ebpf_abi::{Desk, Endpoint, LAYOUT_VERSION};
use electrode_transport::EndpointConfig;
use electrode_transport::wire::{HEADER_LEN, Key, tag_frame};

use crate::error::EbpfError;
use crate::hook::Hook;
use crate::kernel::{Mapped, Mapping, Settings};
use crate::options::HookChoice;

const STAMP: [&str; 3] = ["the layout version", "the cluster", "the node"];

const WORDS: [&str; COUNT] = [
    "the address (its first half)",
    "the address (its second half)",
    "the port",
    "the address family (1 is IPv6)",
    "the key (as the tag of a fixed text)",
    "the longest body",
    "the offloads",
    "the log ring's size",
    "the notice ring's size",
    "the number of CPUs",
    "the programs (as a digest)",
    "the hook (0 TC, 1 generic XDP, 2 native XDP)",
];

const COUNT: usize = 12;
/// The last of them.
const HOOK: usize = COUNT - 1;
/// The hook is to be found out yet.
const UNSETTLED: u64 = u64::MAX;
/// Behind them, where the links are: it may change.
const NAMESPACE: usize = COUNT;
/// How many bytes they take.
pub(super) const BYTES: usize = 8 * (COUNT + 2);

/// What must be the same when somebody takes over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Charter {
    stamp: [u64; 3],
    words: [u64; COUNT],
}

impl Charter {
    pub(crate) fn new(config: &EndpointConfig, settings: &Settings, hook: HookChoice) -> Self {
        let Endpoint { address, body_len_max, port, ipv6, .. } = settings.endpoint;
        let half = |at: usize| {
            address[at..at + 8].iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
        };
        Self {
            stamp: [LAYOUT_VERSION.into(), config.cluster.0, config.node.0],
            words: [
                half(0),
                half(8),
                u16::from_be_bytes(port).into(),
                ipv6.into(),
                config.key.as_ref().map_or(0, digest),
                body_len_max.into(),
                settings.offloads.into(),
                settings.log_bytes.into(),
                settings.notice_bytes.into(),
                aya::util::nr_cpus().map_or(0, |count| count as u64),
                crate::kernel::object_digest(),
                match hook {
                    HookChoice::Only(hook) => code(hook),
                    HookChoice::Auto => UNSETTLED,
                },
            ],
        }
    }

    /// The hook that was found to work.
    pub(super) fn settle(&mut self, hook: Hook) {
        self.words[HOOK] = code(hook);
    }

    /// The hook that is pinned; `None` if there is no such hook. Whoever leaves the choice open stays with
    /// it.
    pub(super) fn adopt(&mut self, memory: &Mapping) -> Option<Hook> {
        let pinned = read(memory, HOOK);
        if self.words[HOOK] == UNSETTLED {
            self.words[HOOK] = pinned;
        }
        Hook::ALL.into_iter().find(|&hook| code(hook) == pinned)
    }

    /// Writes it down.
    pub(super) fn write(&self, desk: &Mapped<Desk>, memory: &Mapping) {
        for (index, word) in self.words.iter().enumerate() {
            memory.word(8 * index).store(*word, Ordering::Release);
        }
        desk.set_stamp(self.stamp);
    }

    /// Compares the stamp with the desk's: until it is the same, nothing else can be read.
    ///
    /// # Errors
    /// [`EbpfError::PinsDiffer`] names the first thing that is not the same.
    pub(super) fn compare_stamp(&self, desk: &Mapped<Desk>, path: &Path) -> Result<(), EbpfError> {
        compare(&STAMP, &desk.stamp(), &self.stamp, path)
    }

    /// Compares the rest with what is written down.
    ///
    /// # Errors
    /// As [`compare_stamp`](Self::compare_stamp).
    pub(super) fn compare(&self, memory: &Mapping, path: &Path) -> Result<(), EbpfError> {
        let pinned: [u64; COUNT] = std::array::from_fn(|index| read(memory, index));
        compare(&WORDS, &pinned, &self.words, path)
    }
}

const fn code(hook: Hook) -> u64 {
    match hook {
        Hook::Tc => 0,
        Hook::XdpGeneric => 1,
        Hook::XdpNative => 2,
    }
}

fn compare(
    names: &[&'static str],
    pinned: &[u64],
    wanted: &[u64],
    path: &Path,
) -> Result<(), EbpfError> {
    for ((what, pinned), wanted) in names.iter().zip(pinned).zip(wanted) {
        if pinned != wanted {
            let (pinned, wanted) = (pinned.to_string(), wanted.to_string());
            return Err(EbpfError::PinsDiffer { path: path.to_owned(), what, pinned, wanted });
        }
    }
    Ok(())
}

fn read(memory: &Mapping, index: usize) -> u64 {
    memory.word(8 * index).load(Ordering::Acquire)
}

/// In which network namespace the links were made.
pub(super) fn noted_namespace(memory: &Mapping) -> [u64; 2] {
    [read(memory, NAMESPACE), read(memory, NAMESPACE + 1)]
}

/// Notes in which network namespace the links are.
pub(super) fn note_namespace(memory: &Mapping, namespace: [u64; 2]) {
    for (index, word) in namespace.iter().enumerate() {
        memory.word(8 * (NAMESPACE + index)).store(*word, Ordering::Release);
    }
}

/// The calling thread's network namespace, as the system tells them apart.
pub(super) fn namespace() -> Result<[u64; 2], EbpfError> {
    let operation = "look at this thread's network namespace";
    let facts = std::fs::metadata("/proc/thread-self/ns/net")
        .map_err(|source| EbpfError::Io { operation, source })?;
    Ok([facts.dev(), facts.ino()])
}

/// Tells keys apart without giving one away.
fn digest(key: &Key) -> u64 {
    tag_frame(key, &[0; HEADER_LEN], b"the key of a pinned endpoint")
}
