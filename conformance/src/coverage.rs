//! The table of what exercises each invariant: it stands in COVERAGE.md, made by the suite itself.

use core::fmt::Write as _;

use crate::case::Invariant;
use crate::cases;
use crate::mutants::MUTANTS;

/// The table as Markdown: each invariant, its cases with what they prove, and the mutants that they
/// catch.
#[must_use]
pub fn table() -> String {
    let all = cases::all();
    let mut text = String::from(
        "# What exercises each invariant\n\nMade by `cargo test -p electrode-transport --test conformance -- --list-coverage`; a test keeps it current.\nA mutant is a deliberately broken engine that must fail the case named beside it.\n",
    );
    for &invariant in Invariant::ALL {
        let _ = write!(
            text,
            "\n## {invariant}\n\n| case | profile | needs | what it proves |\n|---|---|---|---|\n"
        );
        for case in all.iter().filter(|case| case.invariant == invariant) {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                case.id,
                case.profile.name(),
                case.needs,
                case.clause
            );
        }
        let mine: Vec<_> =
            MUTANTS.iter().filter(|mutant| mutant.invariant() == invariant).collect();
        if !mine.is_empty() {
            text.push_str("\n| mutant | what is broken | caught by |\n|---|---|---|\n");
        }
        for mutant in mine {
            let _ =
                writeln!(text, "| `{}` | {} | `{}` |", mutant.name, mutant.what, mutant.caught_by);
        }
    }
    text
}
