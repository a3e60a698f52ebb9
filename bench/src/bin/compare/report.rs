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
    members: u8,
    rounds: u32,
    payload_len_bytes: usize,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(members: u8, rounds: u32) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        println!(
            "{members} members, 64-byte payload, medians of {rounds} alternating rounds, Linux {} on {cpus} CPUs",
            kernel.trim()
        );
        println!(
            "{:<6} {:>6}  {:<10} {:>9} {:>6} {:>8} {:>6} {:>8} {:>8} {:>6} {:>5}",
            "mode",
            "window",
            "subject",
            "ops/s",
            "ratio",
            "p50 us",
            "ratio",
            "p99 us",
            "cpu us",
            "ratio",
            "lost"
        );
        let kernel = kernel.trim().into();
        Self { schema: 1, kernel, cpus, members, rounds, payload_len_bytes: 64, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    fn figures(&self, setting: &Setting, subject: Subject) -> impl Iterator<Item = &Figures> {
        self.rows
            .iter()
            .filter(move |row| row.setting == *setting && row.subject == subject)
            .map(|row| &row.figures)
    }

    fn median(&self, setting: &Setting, subject: Subject) -> Figures {
        let of = |field: fn(&Figures) -> f64| {
            let mut values: Vec<_> = self.figures(setting, subject).map(field).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        Figures {
            ops_per_s: of(|figures| figures.ops_per_s),
            p50_us: of(|figures| figures.p50_us),
            p99_us: of(|figures| figures.p99_us),
            cpu_us_per_op: of(|figures| figures.cpu_us_per_op),
            lost: self.figures(setting, subject).map(|figures| figures.lost).sum(),
        }
    }

    pub(crate) fn print_setting(&self, setting: &Setting) {
        let floor = self.median(setting, Subject::Yardstick);
        for subject in crate::SUBJECTS {
            let median = self.median(setting, subject);
            println!(
                "{:<6} {:>6}  {:<10} {:>9.0} {:>6.2} {:>8.1} {:>6.2} {:>8.1} {:>8.2} {:>6.2} {:>5}",
                setting.mode(),
                setting.window,
                format!("{subject:?}").to_lowercase(),
                median.ops_per_s,
                median.ops_per_s / floor.ops_per_s,
                median.p50_us,
                median.p50_us / floor.p50_us,
                median.p99_us,
                median.cpu_us_per_op,
                median.cpu_us_per_op / floor.cpu_us_per_op,
                median.lost,
            );
        }
    }

    /// Whether in every setting the backend in `Received` mode, which does what the floor does, has
    /// at least `rate` of its rate, at most `latency` times its p50, and lost nothing.
    pub(crate) fn within(&self, rate: f64, latency: f64) -> bool {
        let mut all = true;
        for (index, row) in self.rows.iter().enumerate() {
            let setting = row.setting;
            if self.rows[..index].iter().any(|earlier| earlier.setting == setting) {
                continue;
            }
            let floor = self.median(&setting, Subject::Yardstick);
            let own = self.median(&setting, Subject::Received);
            let holds = own.ops_per_s >= rate * floor.ops_per_s
                && own.p50_us <= latency * floor.p50_us
                && own.lost == 0;
            if !holds {
                let (mode, window) = (setting.mode(), setting.window);
                println!(
                    "{mode}, window {window}: below {rate} of the rate or above {latency} times p50"
                );
            }
            all &= holds;
        }
        all
    }

    pub(crate) fn to_json(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
