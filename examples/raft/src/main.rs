//! Three raft nodes over loopback UDP: an election, a log, the leader's end, a catch-up.
//!
//! ```sh
//! cargo run --release -p electrode-example-raft
//! ```

#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
mod show;

#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
fn main() -> Result<(), electrode_example_raft::Error> {
    show::run()
}

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
fn main() {
    eprintln!("raft 0.7 does not build on this system without a `protoc` of its own");
}
