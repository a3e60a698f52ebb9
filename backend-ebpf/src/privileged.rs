//! Tests that need root say so when they are left out, and fail where they must not be.

/// Whether this process may load programs.
pub(crate) fn is_privileged(what: &str) -> bool {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    let required =
        std::env::var_os("ELECTRODE_REQUIRE_PRIVILEGED").is_some_and(|value| value == "1");
    assert!(!required, "{what} needs root, and ELECTRODE_REQUIRE_PRIVILEGED=1 demands it");
    eprintln!("LEFT OUT: {what} needs root (CAP_BPF, CAP_NET_ADMIN)");
    false
}
