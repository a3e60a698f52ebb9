//! Where no runtime is known: the driver is always a thread.

use super::Attendance;
use crate::accelerate::Accelerator;
use crate::core::Core;

/// A registration that never happens.
#[derive(Debug)]
pub(super) enum Readiness {}

/// A runtime that never is.
#[derive(Debug)]
pub(super) enum Runtime {}

impl Readiness {
    pub(super) const fn register<A: Accelerator>(_core: &Core<A>) -> Option<(Self, Runtime)> {
        None
    }
}

impl Runtime {
    pub(super) fn spawn<A: Accelerator>(&self, _attendance: Attendance<A>) {
        match *self {}
    }
}

/// Nobody to wake.
#[derive(Debug, Default)]
pub(super) struct Bell;

impl Bell {
    pub(super) const fn hasten(&self, _due: u64) {}

    pub(super) const fn ring(&self) {}

    pub(super) const fn sleeps_until(&self, _until: u64) {}
}
