//! What this process may ask of this kernel.

use std::ffi::CString;
use std::fmt;
use std::fs;

use serde::Serialize;

/// What there is to know of the kernel and of the process's rights.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct KernelFacts {
    /// As `uname -r` prints it.
    pub release: String,
    /// The effective capabilities that matter.
    pub capabilities: Capabilities,
    /// Whether the process is in a user namespace of its own, where capabilities do not count for
    /// loading programs.
    pub user_namespace: bool,
    /// Whether a BPF file system is mounted at `/sys/fs/bpf`.
    pub bpffs: bool,
    /// Whether programs are compiled to machine code. Unknown inside network namespaces, which do
    /// not show the setting.
    pub jit: Option<bool>,
    /// `kernel.unprivileged_bpf_disabled`: 0 allows anybody to load programs.
    pub unprivileged_bpf_disabled: Option<u32>,
}

/// Effective capabilities (capabilities(7)) of the calling thread.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// `CAP_BPF`, or `CAP_SYS_ADMIN`, which includes it: loading programs.
    pub bpf: bool,
    /// `CAP_NET_ADMIN`: attaching them.
    pub net_admin: bool,
    /// `CAP_PERFMON`, or `CAP_SYS_ADMIN`: pointer arithmetic that speculation could abuse.
    pub perfmon: bool,
    /// `CAP_SYS_ADMIN`: reading the names of other people's programs.
    pub sys_admin: bool,
}

impl KernelFacts {
    pub(crate) fn read() -> Self {
        let file = |path: &str| fs::read_to_string(path).ok();
        let number = |path| file(path)?.trim().parse().ok();
        let status = file("/proc/thread-self/status").unwrap_or_default();
        let identity = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
        Self {
            release: file("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            capabilities: Capabilities::parse(&status),
            user_namespace: file("/proc/self/uid_map").is_some_and(|map| !identity(map)),
            bpffs: is_bpffs("/sys/fs/bpf"),
            jit: number("/proc/sys/net/core/bpf_jit_enable").map(|mode: u32| mode != 0),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
        }
    }

    /// Major and minor number; `None` if the release does not begin with them.
    #[must_use]
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|letter: char| !letter.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

impl Capabilities {
    // `include/uapi/linux/capability.h`.
    const NET_ADMIN: u32 = 12;
    const SYS_ADMIN: u32 = 21;
    const PERFMON: u32 = 38;
    const BPF: u32 = 39;

    /// Reads `/proc/thread-self/status`. What cannot be read counts as missing.
    pub(super) fn parse(status: &str) -> Self {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let set = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
        let has = |bit: u32| set >> bit & 1 == 1;
        let sys_admin = has(Self::SYS_ADMIN);
        Self {
            bpf: has(Self::BPF) || sys_admin,
            net_admin: has(Self::NET_ADMIN),
            perfmon: has(Self::PERFMON) || sys_admin,
            sys_admin,
        }
    }
}

fn is_bpffs(path: &str) -> bool {
    let Ok(path) = CString::new(path) else { return false };
    // SAFETY: a `statfs` is integers, for all of which zero is a value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero and both outlive the call.
    let done = unsafe { libc::statfs(path.as_ptr(), &raw mut found) };
    done == 0 && found.f_type == libc::BPF_FS_MAGIC
}

impl fmt::Display for KernelFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = |on| if on { "yes" } else { "no" };
        let Capabilities { bpf, net_admin, perfmon, .. } = self.capabilities;
        writeln!(
            f,
            "kernel {}: CAP_BPF {}, CAP_NET_ADMIN {}, CAP_PERFMON {}",
            self.release,
            yes(bpf),
            yes(net_admin),
            yes(perfmon)
        )?;
        writeln!(
            f,
            "  JIT {}, bpffs {}, unprivileged_bpf_disabled {}",
            self.jit.map_or("unknown", yes),
            if self.bpffs { "mounted" } else { "not mounted" },
            self.unprivileged_bpf_disabled.map_or("unknown".to_owned(), |mode| mode.to_string()),
        )
    }
}
