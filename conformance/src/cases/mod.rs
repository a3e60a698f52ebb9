//! The cases, one file an invariant. An id begins with the invariant's name.

use electrode_transport::AckMode;

use crate::case::Case;

/// Declares a file's cases: `"name", Profile, [NEEDS], function, "clause";`.
macro_rules! cases {
    ($invariant:ident, $prefix:literal;
     $($name:literal, $profile:ident, [$($need:ident)*], $run:path, $clause:literal;)*) => {
        pub(super) const CASES: &[crate::case::Case] = &[$(crate::case::Case {
            id: concat!($prefix, "/", $name),
            invariant: crate::case::Invariant::$invariant,
            clause: $clause,
            profile: crate::case::Profile::$profile,
            needs: crate::features::Features::NONE$(.and(crate::features::Features::$need))*,
            run: $run,
        }),*];
    };
}

mod admission;
mod bystanders;
mod cancel;
mod chaos;
mod contiguous;
mod contract;
mod equivocation;
mod exactly_once;
mod exit;
mod fenced;
mod groups;
mod lease;
mod quorum_true;
mod stored;
mod told;
mod votes;

/// Both acknowledgement modes, for cases that hold in either.
const MODES: [AckMode; 2] = [AckMode::Received, AckMode::Persisted];

/// Every case, grouped by invariant.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        stored::CASES,
        fenced::CASES,
        contiguous::CASES,
        equivocation::CASES,
        votes::CASES,
        told::CASES,
        quorum_true::CASES,
        exactly_once::CASES,
        bystanders::CASES,
        admission::CASES,
        lease::CASES,
        exit::CASES,
        contract::CASES,
        cancel::CASES,
        groups::CASES,
    ]
    .concat()
}
