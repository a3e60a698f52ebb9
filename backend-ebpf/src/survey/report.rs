//! Which hooks work here, tried out.

use std::error::Error;
use std::fmt;

use serde::Serialize;

use super::{Hook, Survey};

/// Whether one hook works here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct HookReport {
    /// Which.
    pub hook: Hook,
    /// Whether a program attached there answered.
    pub works: bool,
    /// If not: why, and what would help.
    pub why: Option<String>,
}

/// A survey, and what came of trying each hook that it left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The facts.
    pub survey: Survey,
    /// Every hook, the one to be preferred on this interface first.
    pub hooks: Vec<HookReport>,
    /// The first that works.
    pub picked: Option<Hook>,
}

impl Report {
    /// Tries every hook that the survey does not exclude.
    ///
    /// The test attaches a program to the hook, has it answer something, and detaches it again; its
    /// error says why it does not work, and stays in the report with all of its causes.
    pub fn new<E: Error>(survey: Survey, mut test: impl FnMut(Hook) -> Result<(), E>) -> Self {
        let mut hooks = Vec::new();
        for hook in Hook::preferred_on(&survey.device.kind) {
            let why = match survey.excluded(hook) {
                Some(why) => Some(why),
                None => test(hook).err().map(|error| with_causes(&error)),
            };
            hooks.push(HookReport { hook, works: why.is_none(), why });
        }
        let picked = hooks.iter().find(|report| report.works).map(|report| report.hook);
        Self { survey, hooks, picked }
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.survey.fmt(f)?;
        for report in &self.hooks {
            match &report.why {
                None => writeln!(f, "{:<11} works", report.hook)?,
                Some(why) => writeln!(f, "{:<11} does not work: {why}", report.hook)?,
            }
        }
        match self.picked {
            Some(hook) => writeln!(f, "picked: {hook}"),
            None => writeln!(f, "picked: none; the socket backend does everything"),
        }
    }
}
