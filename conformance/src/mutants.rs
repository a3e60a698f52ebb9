//! The deliberately broken engines, each with the case that must catch it.

use crate::case::Invariant;

/// A broken engine and the case that catches it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MutantCase {
    /// The mutant's name, as in `electrode_transport::engine::Mutant`.
    pub name: &'static str,
    /// What it does wrong.
    pub what: &'static str,
    /// The case that must fail with it. Its prefix is the invariant that it breaks.
    pub caught_by: &'static str,
}

impl MutantCase {
    /// The invariant that it breaks.
    #[must_use]
    pub fn invariant(&self) -> Invariant {
        let prefix = self.caught_by.split('/').next().unwrap_or_default();
        Invariant::ALL
            .iter()
            .copied()
            .find(|invariant| invariant.name() == prefix)
            .unwrap_or(Invariant::Contract)
    }
}

/// Every mutant.
pub const MUTANTS: &[MutantCase] = &[];
