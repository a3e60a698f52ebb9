//! Beds that one case after another uses: to build one takes longer than most cases run.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use super::bed::TapBed;
use crate::harness::SetupError;

/// The fewest hosts of a bed, so that most cases can share one.
const HOSTS_MIN: usize = 6;

/// Beds that nobody uses. Clones are the same pool; the beds go with the last of them.
#[derive(Clone, Debug, Default)]
pub struct TapPool {
    free: Arc<Mutex<Vec<TapBed>>>,
}

impl TapPool {
    /// A bed with at least this many hosts and this MTU, as good as new: nothing on its wires, clean
    /// links. A new one if none is free.
    ///
    /// # Errors
    /// As [`TapBed::build`].
    pub fn take(&self, hosts: usize, mtu: usize, seed: u64) -> Result<PooledBed, SetupError> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |bed: &TapBed| bed.hosts().len() >= hosts && bed.mtu() == mtu;
        let found = free.iter().position(fits).map(|at| free.swap_remove(at));
        drop(free);
        let mut bed = match found {
            Some(bed) => bed,
            None => TapBed::build(hosts.max(HOSTS_MIN), mtu, seed)?,
        };
        bed.switch_mut().reset(seed);
        Ok(PooledBed { bed: Some(bed), pool: self.clone() })
    }
}

/// A bed that goes back to its pool. After a panic it does not: who knows what is still on it.
#[derive(Debug)]
pub struct PooledBed {
    bed: Option<TapBed>,
    pool: TapPool,
}

impl Deref for PooledBed {
    type Target = TapBed;

    fn deref(&self) -> &TapBed {
        self.bed.as_ref().expect("it has a bed until it is dropped")
    }
}

impl DerefMut for PooledBed {
    fn deref_mut(&mut self) -> &mut TapBed {
        self.bed.as_mut().expect("it has a bed until it is dropped")
    }
}

impl Drop for PooledBed {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.extend(self.bed.take());
        }
    }
}
