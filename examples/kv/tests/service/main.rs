//! The binary as its users run it: replicas as processes, clients as processes, signals.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;
mod crashes;
mod demonstration;
mod kernel;
mod refusals;
mod subcommands;
