//! Throughput and latency of a run of requests.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Latencies are kept in microseconds up to this one, to three digits.
const LATENCY_US_MAX: u64 = 600_000_000;

/// Counts answers and keeps their latencies.
pub(crate) struct Measure {
    latencies_us: Histogram<u64>,
    started: Instant,
}

/// What came of it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figures {
    pub(crate) count: u64,
    pub(crate) took: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
    pub(crate) max: Duration,
}

impl Measure {
    pub(crate) fn start() -> Self {
        let latencies_us = Histogram::new_with_max(LATENCY_US_MAX, 3)
            .expect("the bounds are constants that the histogram accepts");
        Self { latencies_us, started: Instant::now() }
    }

    pub(crate) fn note(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies_us.saturating_record(micros);
    }

    pub(crate) fn finish(self) -> Figures {
        let at = |quantile| Duration::from_micros(self.latencies_us.value_at_quantile(quantile));
        Figures {
            count: self.latencies_us.len(),
            took: self.started.elapsed(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_micros(self.latencies_us.max()),
        }
    }
}

impl Figures {
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// The heading of [`row`]s.
pub(crate) fn heading() -> String {
    format!(
        "{:<37} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "requests", "seconds", "per sec", "p50", "p99", "p99.9", "max"
    )
}

/// One line of the table.
pub(crate) fn row(name: &str, figures: &Figures) -> String {
    format!(
        "{name:<37} {:>8} {:>8.2} {:>9.0} {:>9} {:>9} {:>9} {:>9}",
        figures.count,
        figures.took.as_secs_f64(),
        figures.rate(),
        millis(figures.p50),
        millis(figures.p99),
        millis(figures.p999),
        millis(figures.max),
    )
}

fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_noted() {
        let mut measure = Measure::start();
        for millis in 1..=1_000 {
            measure.note(Duration::from_millis(millis));
        }
        let figures = measure.finish();
        let near =
            |found: Duration, expected: u64| found.as_millis().abs_diff(u128::from(expected)) <= 1;
        assert_eq!(figures.count, 1_000);
        assert!(near(figures.p50, 500) && near(figures.p99, 990) && near(figures.p999, 999));
        assert!(near(figures.max, 1_000));
    }

    #[test]
    fn rows_line_up_with_their_heading() {
        let figures = Measure::start().finish();
        assert_eq!(row("a name", &figures).chars().count(), heading().chars().count());
    }
}
