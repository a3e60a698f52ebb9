//! What the figures are to be, as ratios of one run.

use crate::measure::{Figures, Setting, Subject};
use crate::report::Report;

/// One ratio and its limit.
struct Target {
    what: String,
    ratio: f64,
    limit: f64,
    at_most: bool,
}

impl Target {
    fn is_met(&self) -> bool {
        if self.at_most { self.ratio <= self.limit } else { self.ratio >= self.limit }
    }
}

/// Prints every ratio that the run allows, and whether each is within its limit. `true` if all are, and
/// nothing was lost.
pub(crate) fn print(report: &Report) -> bool {
    let mut met = report.lost_nothing();
    for setting in report.settings() {
        for target in of_setting(report, &setting) {
            let word = if target.is_met() { "met" } else { "MISSED" };
            let side = if target.at_most { "at most" } else { "at least" };
            let Target { what, ratio, limit, .. } = &target;
            println!("{word:<7}{what}: {ratio:.2} ({side} {limit:.2})");
            met &= target.is_met();
        }
    }
    met
}

fn of_setting(report: &Report, setting: &Setting) -> Vec<Target> {
    let mut targets = Vec::new();
    let of = |subject| report.median(setting, subject);
    let Setting { members, receive, window, .. } = setting;
    let name =
        format!("{members} members, {}, {}, window {window}", setting.mode(), receive.name());
    let mut add = |what: &str, ratio: f64, limit: f64, at_most: bool| {
        targets.push(Target { what: format!("{name}: {what}"), ratio, limit, at_most });
    };
    if let (Some(floor), Some(own)) = (of(Subject::FloorSockets), of(Subject::Socket)) {
        add("socket's rate of the C program's", own.ops_per_s / floor.ops_per_s, 0.8, false);
        add("socket's p50 of the C program's", own.p50_us / floor.p50_us, 1.25, true);
    }
    let Some(own) = best(of(Subject::EbpfTc), of(Subject::EbpfXdp)) else { return targets };
    if let Some(floor) = best(of(Subject::FloorTc), of(Subject::FloorXdp)) {
        if setting.window == 1 {
            add("ebpf's p50 of the C programs'", own.p50_us / floor.p50_us, 1.3, true);
        } else {
            add("ebpf's rate of the C programs'", own.ops_per_s / floor.ops_per_s, 0.75, false);
            let ratio = own.cpu_us_per_op / floor.cpu_us_per_op;
            add("ebpf's CPU of the C programs'", ratio, 1.4, true);
        }
    }
    if let Some(socket) = of(Subject::Socket) {
        if setting.window == 1 {
            add("ebpf's p50 of socket's", own.p50_us / socket.p50_us, 1.0 / 3.0, true);
        } else {
            let limit = f64::from(setting.members.saturating_add(1)) / 2.0;
            add("ebpf's rate of socket's", own.ops_per_s / socket.ops_per_s, limit, false);
        }
    }
    targets
}

/// The better of the two hooks, figure by figure.
fn best(one: Option<Figures>, other: Option<Figures>) -> Option<Figures> {
    let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
    Some(Figures {
        ops_per_s: a.ops_per_s.max(b.ops_per_s),
        p50_us: a.p50_us.min(b.p50_us),
        p99_us: a.p99_us.min(b.p99_us),
        cpu_us_per_op: a.cpu_us_per_op.min(b.cpu_us_per_op),
        lost: a.lost + b.lost,
    })
}
