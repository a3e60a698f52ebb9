//! What a user may choose about this backend. Compiled on every system, so that a program which sets
//! it is too.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use electrode_backend_socket::SocketOptions;

use crate::hook::{Hook, UnknownHook};

/// Which hook the ingress program sits at. Reads and prints as `auto`, `tc`, `xdp-generic` or
/// `xdp-native`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum HookChoice {
    /// The first in the interface's order of preference that passes the self-test, see
    #[cfg_attr(target_os = "linux", doc = " [`Report`](crate::Report).")]
    #[cfg_attr(not(target_os = "linux"), doc = " `Report`.")]
    #[default]
    Auto,
    /// This one, or an error. No self-test is made.
    Only(Hook),
}

impl From<Hook> for HookChoice {
    fn from(hook: Hook) -> Self {
        Self::Only(hook)
    }
}

impl fmt::Display for HookChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Only(hook) => hook.fmt(f),
        }
    }
}

impl FromStr for HookChoice {
    type Err = UnknownHook;

    fn from_str(word: &str) -> Result<Self, UnknownHook> {
        if word == "auto" { Ok(Self::Auto) } else { word.parse().map(Self::Only) }
    }
}

/// What only this backend looks at.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EbpfOptions {
    /// Where arriving packets meet the program; [`HookChoice::Auto`] unless changed.
    pub hook: HookChoice,
    /// Whether one packet is cloned to all followers in the kernel.
    pub broadcast: bool,
    /// Whether a follower's kernel stores and acknowledges.
    pub acknowledge: bool,
    /// Whether a leader's kernel counts acknowledgements.
    pub quorum: bool,
    /// Whether the accept frames of a batch leave in one piece (`UDP_SEGMENT`), which the network card
    /// cuts into datagrams, or between namespaces of one machine nobody: a leader's kernel then works once
    /// for a batch and not for each of its frames. Only where the own hook is [`Hook::Tc`], for the XDP
    /// hooks of a follower on the same machine would pass such a piece up the stack.
    pub segments: bool,
    /// Bytes of each CPU's log ring, over all groups; rounded up to a power of two. Each group's own
    /// bound is [`GroupConfig::log_bytes`](electrode_transport::GroupConfig::log_bytes).
    pub log_bytes: usize,
    /// For how long accepted entries may lie in the kernel's log while user space sleeps. In
    /// [`Received`](electrode_transport::AckMode::Received) mode the kernel acknowledges by itself, and
    /// to wake user space costs a follower more than everything else about an entry. So it is woken by
    /// the first one, and from then on looks again after this time, until it finds nothing and sleeps
    /// until it is woken. Rounded up to what the system's timers can do. Zero wakes it for each; it is
    /// woken for each in any case as long as the endpoint has a group in `Persisted` mode.
    pub nap: Duration,
    /// Where programs, rings and groups are pinned, so that they outlive the process; `None`, the
    /// default, leaves nothing behind. See
    #[cfg_attr(target_os = "linux", doc = " [`EbpfEndpoint::bind`](crate::EbpfEndpoint::bind).")]
    #[cfg_attr(not(target_os = "linux"), doc = " `EbpfEndpoint::bind`.")]
    /// `electrode::open` then never falls back to sockets.
    pub pin: Option<PathBuf>,
    /// What the socket beside the programs looks at.
    pub socket: SocketOptions,
}

impl Default for EbpfOptions {
    fn default() -> Self {
        Self {
            hook: HookChoice::Auto,
            broadcast: true,
            acknowledge: true,
            quorum: true,
            segments: true,
            log_bytes: 16 << 20,
            nap: Duration::from_millis(1),
            pin: None,
            socket: SocketOptions::default(),
        }
    }
}

#[cfg(target_os = "linux")]
impl EbpfOptions {
    pub(crate) fn offload_bits(&self) -> u32 {
        use electrode_ebpf_abi::offload;
        [
            (self.broadcast, offload::BROADCAST),
            (self.acknowledge, offload::ACKNOWLEDGE),
            (self.quorum, offload::QUORUM),
        ]
        .into_iter()
        .filter(|(on, _)| *on)
        .fold(0, |bits, (_, bit)| bits | bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_printed() {
        for choice in Hook::ALL.map(HookChoice::Only).into_iter().chain([HookChoice::Auto]) {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        let error = "xdp".parse::<HookChoice>().expect_err("no such hook").to_string();
        assert_eq!(error, "there is no hook \"xdp\": choose tc, xdp-generic or xdp-native");
    }
}
