//! Medians, ratios, a table and JSON.

use std::io;

use serde::Serialize;

use crate::measure::{Figures, Setting, Subject};

/// One run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) setting: Setting,
    pub(crate) round: u32,
    pub(crate) subject: Subject,
    pub(crate) figures: Figures,
}

/// All runs.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Raised when a field changes its meaning.
    schema: u32,
    kernel: String,
    cpus: usize,
    rounds: u32,
    payload_len_bytes: usize,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(rounds: u32) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        println!(
            "64-byte payload, medians of {rounds} alternating rounds, Linux {} on {cpus} CPUs; \
             CPU is that of the whole machine, softirq included",
            kernel.trim()
        );
        println!(
            "{:>7} {:<5} {:<7} {:>6}  {:<17} {:>9} {:>8} {:>8} {:>8} {:>5}",
            "members",
            "mode",
            "receive",
            "window",
            "subject",
            "ops/s",
            "p50 us",
            "p99 us",
            "cpu us",
            "lost"
        );
        let kernel = kernel.trim().into();
        Self { schema: 3, kernel, cpus, rounds, payload_len_bytes: 64, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    /// The settings that were run, each once, in order.
    pub(crate) fn settings(&self) -> Vec<Setting> {
        let mut settings: Vec<Setting> = Vec::new();
        for row in &self.rows {
            if settings.last() != Some(&row.setting) {
                settings.push(row.setting);
            }
        }
        settings
    }

    fn subjects(&self, setting: &Setting) -> Vec<Subject> {
        let first = |row: &&Row| row.setting == *setting && row.round == 0;
        self.rows.iter().filter(first).map(|row| row.subject).collect()
    }

    /// Medians over the rounds; `None` if it was not run.
    pub(crate) fn median(&self, setting: &Setting, subject: Subject) -> Option<Figures> {
        let figures: Vec<&Figures> = self
            .rows
            .iter()
            .filter(|row| row.setting == *setting && row.subject == subject)
            .map(|row| &row.figures)
            .collect();
        let of = |field: fn(&Figures) -> f64| {
            let mut values: Vec<_> = figures.iter().map(|figures| field(figures)).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        Some(Figures {
            ops_per_s: of(|figures| figures.ops_per_s)?,
            p50_us: of(|figures| figures.p50_us)?,
            p99_us: of(|figures| figures.p99_us)?,
            cpu_us_per_op: of(|figures| figures.cpu_us_per_op)?,
            lost: figures.iter().map(|figures| figures.lost).sum(),
        })
    }

    pub(crate) fn print_setting(&self, setting: &Setting) {
        for subject in self.subjects(setting) {
            let Some(median) = self.median(setting, subject) else { continue };
            println!(
                "{:>7} {:<5} {:<7} {:>6}  {:<17} {:>9.0} {:>8.1} {:>8.1} {:>8.2} {:>5}",
                setting.members,
                setting.mode(),
                setting.receive.name(),
                setting.window,
                subject.name(),
                median.ops_per_s,
                median.p50_us,
                median.p99_us,
                median.cpu_us_per_op,
                median.lost,
            );
        }
    }

    /// Whether every proposal of the backends had its quorum. A floor sends nothing again.
    pub(crate) fn lost_nothing(&self) -> bool {
        self.rows.iter().all(|row| row.subject.is_floor() || row.figures.lost == 0)
    }

    pub(crate) fn to_json(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
