//! The binary as its users run it: replicas as processes, clients as processes, signals.
#![cfg(unix)]

mod cluster;
mod crashes;
mod demonstration;
mod refusals;
mod subcommands;
