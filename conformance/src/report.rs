//! The suite's reports: JSON with a versioned schema, and JUnit for CI systems.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use crate::cases;
use crate::harness::Harness;
use crate::run::{Outcome, Ran};
use crate::seeds::Seeds;

/// The version of the JSON report. It changes whenever a field's meaning does.
pub const SCHEMA: &str = "electrode-conformance/1";

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The directory or file.
    #[error("the report {path} cannot be written: check ELECTRODE_REPORT_DIR")]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The serialiser.
    #[error("the report cannot be serialised")]
    Json(#[from] serde_json::Error),
    /// The serialiser of JUnit.
    #[error("the JUnit report cannot be serialised")]
    JUnit(#[from] quick_junit::SerializeError),
}

/// The verdict over everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// Every case that the backend declares to support was run and passed.
    Success,
    /// Nothing failed, but some cases were skipped for lack of privileges or left out by a filter.
    Partial,
    /// A case failed.
    Failure,
}

/// One run of the suite.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    backend: String,
    hook: String,
    declares: Vec<&'static str>,
    kernel: String,
    commit: String,
    seed: Option<u64>,
    seeds: Option<u64>,
    result: Verdict,
    passed: usize,
    failed: usize,
    not_supported: usize,
    skipped: usize,
    not_run: usize,
    cases: Vec<Line>,
}

#[derive(Clone, Debug, Serialize)]
struct Line {
    id: &'static str,
    invariant: &'static str,
    clause: &'static str,
    profile: &'static str,
    needs: Vec<&'static str>,
    outcome: &'static str,
    message: Option<String>,
    milliseconds: u64,
}

impl Line {
    fn new(ran: Ran) -> Self {
        let (outcome, message) = match ran.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed(why) => ("failed", Some(why)),
            Outcome::NotSupported(why) => ("not-supported", Some(why)),
            Outcome::Skipped(why) => ("skipped", Some(why)),
        };
        Self {
            id: ran.case.id,
            invariant: ran.case.invariant.name(),
            clause: ran.case.clause,
            profile: ran.case.profile.name(),
            needs: ran.case.needs.names().collect(),
            outcome,
            message,
            milliseconds: ran.took.as_millis() as u64,
        }
    }
}

impl Report {
    /// Sums up what was run.
    #[must_use]
    pub fn new(harness: &dyn Harness, seeds: Seeds, ran: Vec<Ran>) -> Self {
        let mut cases: Vec<_> = ran.into_iter().map(Line::new).collect();
        cases.sort_by_key(|line| line.id);
        let count = |outcome| cases.iter().filter(|line| line.outcome == outcome).count();
        let (passed, failed) = (count("passed"), count("failed"));
        let (not_supported, skipped) = (count("not-supported"), count("skipped"));
        let not_run = cases::all().len().saturating_sub(cases.len());
        let result = if failed > 0 {
            Verdict::Failure
        } else if skipped > 0 || not_run > 0 {
            Verdict::Partial
        } else {
            Verdict::Success
        };
        Self {
            schema: SCHEMA,
            backend: harness.name().into(),
            hook: harness.hook(),
            declares: harness.declares().names().collect(),
            kernel: kernel(),
            commit: commit(),
            seed: seeds.one,
            seeds: seeds.count,
            result,
            passed,
            failed,
            not_supported,
            skipped,
            not_run,
            cases,
        }
    }

    /// The verdict.
    #[must_use]
    pub const fn result(&self) -> Verdict {
        self.result
    }

    /// One line for people.
    #[must_use]
    pub fn summary(&self) -> String {
        let result = match self.result {
            Verdict::Success => "success",
            Verdict::Partial => "partial",
            Verdict::Failure => "failure",
        };
        format!(
            "conformance of {}: {result} ({} passed, {} failed, {} not supported, {} skipped, {} not run)",
            self.subject(),
            self.passed,
            self.failed,
            self.not_supported,
            self.skipped,
            self.not_run
        )
    }

    /// What was tested, as part of a file's name: one backend may run the suite under several hooks,
    /// each with a report of its own.
    fn subject(&self) -> String {
        subject(&self.backend, &self.hook)
    }

    /// The report as JSON.
    ///
    /// # Errors
    /// [`ReportError::Json`].
    pub fn to_json(&self) -> Result<String, ReportError> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The report as JUnit XML.
    ///
    /// # Errors
    /// [`ReportError::JUnit`].
    pub fn to_junit(&self) -> Result<String, ReportError> {
        let mut suite = TestSuite::new(format!("conformance.{}", self.subject()));
        for (name, value) in [
            ("schema", self.schema),
            ("hook", &self.hook),
            ("kernel", &self.kernel),
            ("commit", &self.commit),
        ] {
            suite.add_property((name, value));
        }
        let seed = self.seed.map_or_else(|| "default".into(), |seed| seed.to_string());
        suite.add_property(("seed", seed.as_str()));
        for line in &self.cases {
            let mut status = match line.outcome {
                "passed" => TestCaseStatus::success(),
                "failed" => TestCaseStatus::non_success(NonSuccessKind::Failure),
                _ => TestCaseStatus::skipped(),
            };
            if let Some(message) = &line.message {
                status.set_message(message.as_str());
            }
            let mut case = TestCase::new(line.id, status);
            case.set_classname(format!("{}.{}", self.subject(), line.invariant));
            case.set_time(std::time::Duration::from_millis(line.milliseconds));
            suite.add_test_case(case);
        }
        let mut report = quick_junit::Report::new("electrode-conformance");
        report.add_test_suite(suite);
        Ok(report.to_string()?)
    }

    /// Writes both reports into a directory, which is made if need be.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn write(&self, directory: &Path) -> Result<(), ReportError> {
        let put = |name: String, text: String| {
            let path = directory.join(name);
            fs::create_dir_all(directory)
                .and_then(|()| fs::write(&path, text))
                .map_err(|source| ReportError::Write { path, source })
        };
        put(format!("conformance-{}.json", self.subject()), self.to_json()?)?;
        put(format!("conformance-{}.xml", self.subject()), self.to_junit()?)
    }

    /// Writes both reports into `$ELECTRODE_REPORT_DIR`; `false` if it is not set.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn write_from_env(&self) -> Result<bool, ReportError> {
        let Some(directory) = std::env::var_os("ELECTRODE_REPORT_DIR") else { return Ok(false) };
        self.write(Path::new(&directory)).map(|()| true)
    }
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::OS, release.trim()).trim().to_owned()
}

fn commit() -> String {
    let git = || {
        let output = Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
    };
    std::env::var("ELECTRODE_COMMIT").ok().or_else(git).unwrap_or_else(|| "unknown".into())
}

/// A backend and its hook in one word.
pub(crate) fn subject(backend: &str, hook: &str) -> String {
    if hook == "none" {
        return backend.into();
    }
    let words = hook.split(|char: char| !char.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    words.fold(backend.into(), |subject: String, word| subject + "-" + word)
}
