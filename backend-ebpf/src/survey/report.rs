//! Which hooks work here, tried out.

use std::fmt;

use electrode_transport::Obstacle;
use serde::{Serialize, Serializer};

use super::{Hook, Survey};
use crate::error::EbpfError;

/// How far a hook's self-test came.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Proof {
    /// A frame came in at the hook, was stored, and its answer went out.
    Echoed,
    /// The program was attached and answers in a test run, and the driver handed it frames off the
    /// wire meanwhile. Nothing can be put in before a driver's own XDP, so this is the most there is.
    Seen {
        /// How many frames.
        frames: u64,
    },
    /// The program was attached and answers in a test run. Whether frames reach it there, or its
    /// answers leave, was not to be seen.
    Unproven {
        /// Why not.
        why: String,
    },
}

impl Proof {
    /// Whether it is enough to rely on the hook.
    #[must_use]
    pub const fn is_enough(&self) -> bool {
        !matches!(self, Self::Unproven { .. })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echoed => write!(f, "a frame came in, was stored, and its answer went out"),
            Self::Seen { frames } => write!(
                f,
                "attached, answers in a test run, and was handed frames off the wire ({frames})"
            ),
            Self::Unproven { why } => write!(f, "attached, not echoed: {why}"),
        }
    }
}

/// Whether one hook works here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct HookReport {
    /// Which.
    pub hook: Hook,
    /// Whether it can be relied on.
    pub works: bool,
    /// How far the self-test came, if it did not fail.
    pub proof: Option<Proof>,
    /// If it does not work: why, with all causes, and what would help.
    pub why: Option<String>,
    /// The same for programs.
    #[serde(serialize_with = "by_name")]
    pub obstacle: Option<Obstacle>,
}

/// A survey, and what came of trying each hook that it left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The facts.
    pub survey: Survey,
    /// The hooks, the one to be preferred on this interface first.
    pub hooks: Vec<HookReport>,
    /// The first that works.
    pub picked: Option<Hook>,
}

impl Report {
    /// Tries every hook that the survey does not exclude.
    pub(crate) fn new(
        survey: Survey,
        mut test: impl FnMut(Hook) -> Result<Proof, EbpfError>,
    ) -> Self {
        let hooks = Hook::preferred_on(&survey.device.kind);
        let hooks = hooks.map(|hook| HookReport::new(&survey, hook, &mut test));
        Self::of(survey, hooks.into())
    }

    /// As [`new`](Self::new), but tries no more once a hook works.
    pub(crate) fn until_one_works(
        survey: Survey,
        mut test: impl FnMut(Hook) -> Result<Proof, EbpfError>,
    ) -> Self {
        let mut hooks: Vec<HookReport> = Vec::new();
        for hook in Hook::preferred_on(&survey.device.kind) {
            hooks.push(HookReport::new(&survey, hook, &mut test));
            if hooks.last().is_some_and(|report| report.works) {
                break;
            }
        }
        Self::of(survey, hooks)
    }

    fn of(survey: Survey, hooks: Vec<HookReport>) -> Self {
        let picked = hooks.iter().find(|report| report.works).map(|report| report.hook);
        Self { survey, hooks, picked }
    }

    /// The hook that works, or an error that says of each why not.
    pub(crate) fn into_hook(self) -> Result<Hook, EbpfError> {
        self.picked.ok_or_else(|| EbpfError::NoHook {
            interface: self.survey.device.name.clone(),
            obstacle: self
                .hooks
                .iter()
                .find_map(|report| report.obstacle)
                .unwrap_or(Obstacle::NoAnswer),
            reports: self
                .hooks
                .iter()
                .map(|report| {
                    format!("{}: {}", report.hook, report.why.as_deref().unwrap_or("works"))
                })
                .collect::<Vec<_>>()
                .join("; "),
        })
    }
}

impl HookReport {
    fn new(
        survey: &Survey,
        hook: Hook,
        test: &mut impl FnMut(Hook) -> Result<Proof, EbpfError>,
    ) -> Self {
        let not = |why, obstacle, proof| Self {
            hook,
            works: false,
            proof,
            why: Some(why),
            obstacle: Some(obstacle),
        };
        if let Some(finding) = survey.excluding(hook) {
            return not(finding.sentence(), finding.obstacle(), None);
        }
        match test(hook) {
            Ok(proof) if proof.is_enough() => {
                Self { hook, works: true, proof: Some(proof), why: None, obstacle: None }
            }
            Ok(proof) => not(proof.to_string(), Obstacle::NoAnswer, Some(proof)),
            Err(error) => not(error.in_full(), error.obstacle(), None),
        }
    }
}

fn by_name<S: Serializer>(obstacle: &Option<Obstacle>, serializer: S) -> Result<S::Ok, S::Error> {
    obstacle.map(Obstacle::name).serialize(serializer)
}

impl fmt::Display for HookReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<11} ", self.hook)?;
        match (&self.proof, &self.why) {
            (Some(proof), None) => write!(f, "works: {proof}"),
            (Some(proof), Some(_)) => write!(f, "{proof}"),
            (None, why) => {
                write!(f, "does not work: {}", why.as_deref().unwrap_or("it was not tried"))
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.survey.fmt(f)?;
        for report in &self.hooks {
            writeln!(f, "{report}")?;
        }
        match self.picked {
            Some(hook) => writeln!(f, "picked: {hook}"),
            None => writeln!(f, "picked: none; the socket backend does everything"),
        }
    }
}
