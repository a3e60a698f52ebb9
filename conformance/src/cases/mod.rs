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

mod contiguous;
mod equivocation;
mod fenced;
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
    ]
    .concat()
}
