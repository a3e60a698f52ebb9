//! What a harness that cannot do everything is told: not supported is no failure, a missing privilege
//! is no success, and the reports say which.

use electrode_conformance::{
    Case, Cluster, ClusterSpec, Features, Harness, MemoryHarness, Outcome, Report, SCHEMA, Seeds,
    SetupError, Verdict, cases, run_case,
};

/// The memory backend as it would be with these features, and with or without privileges.
struct Limited {
    declares: Features,
    privileged: bool,
}

impl Harness for Limited {
    fn name(&self) -> &'static str {
        "limited"
    }

    fn hook(&self) -> String {
        "a <hook> & more".into()
    }

    fn declares(&self) -> Features {
        self.declares
    }

    fn cluster(&self, spec: &ClusterSpec, seed: u64) -> Result<Box<dyn Cluster>, SetupError> {
        if spec.ipv6 {
            return Err(SetupError::NotSupported("IPv6 is not built in".into()));
        }
        if !self.privileged {
            return Err(SetupError::MissingPrivilege("CAP_BPF: run as root".into()));
        }
        MemoryHarness::default().cluster(spec, seed)
    }
}

fn case(id: &str) -> Case {
    cases().into_iter().find(|case| case.id == id).expect("the case exists")
}

fn outcome(id: &str, declares: Features, privileged: bool, required: bool) -> Outcome {
    let harness = Limited { declares, privileged };
    run_case(&case(id), &harness, Seeds::default(), required).outcome
}

#[test]
fn what_is_not_declared_is_not_supported() {
    let without = Features::ALL.without(Features::TAGS);
    let told = outcome("admission/tags", without, true, true);
    assert!(matches!(&told, Outcome::NotSupported(why) if why.contains("tags")), "{told:?}");
    assert_eq!(outcome("admission/gate", without, true, true), Outcome::Passed);
}

#[test]
fn what_is_declared_and_missing_fails() {
    let told = outcome("contract/ipv6", Features::ALL, true, false);
    assert!(matches!(&told, Outcome::Failed(why) if why.contains("IPv6")), "{told:?}");
}

#[test]
fn a_missing_privilege_is_a_skip_unless_it_is_required() {
    let told = outcome("admission/gate", Features::ALL, false, false);
    assert!(matches!(&told, Outcome::Skipped(why) if why.contains("CAP_BPF")), "{told:?}");
    let told = outcome("admission/gate", Features::ALL, false, true);
    assert!(matches!(&told, Outcome::Failed(why) if why.contains("CAP_BPF")), "{told:?}");
}

fn report(harness: &Limited, ids: impl IntoIterator<Item = &'static str>) -> Report {
    let few = Seeds { one: None, count: Some(2) };
    let ran = ids.into_iter().map(|id| run_case(&case(id), harness, few, false));
    Report::new(harness, few, ran.collect())
}

#[test]
fn the_result_is_a_success_only_if_everything_ran() {
    let all = Limited { declares: Features::ALL, privileged: true };
    assert_eq!(report(&all, ["admission/gate"]).result(), Verdict::Partial, "most were not run");
    assert_eq!(report(&all, ["contract/ipv6"]).result(), Verdict::Failure);
    let every = cases().into_iter().map(|case| case.id);
    let unprivileged =
        Limited { declares: Features::ALL.without(Features::IPV6), privileged: false };
    assert_eq!(report(&unprivileged, every.clone()).result(), Verdict::Partial);
    let bare = Limited { declares: Features::ALL.without(Features::IPV6), privileged: true };
    assert_eq!(report(&bare, every).result(), Verdict::Success);
}

#[test]
fn reports_are_written_in_both_forms() {
    let harness = Limited { declares: Features::ALL, privileged: true };
    let report = report(&harness, ["contract/ipv6", "fenced/ballots-only-rise"]);
    let json: serde_json::Value =
        serde_json::from_str(&report.to_json().expect("it serialises")).expect("it is JSON");
    assert_eq!(json["schema"], SCHEMA);
    assert_eq!(json["backend"], "limited");
    assert_eq!(json["hook"], "a <hook> & more");
    assert_eq!(json["result"], "failure");
    assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &1.into()));
    for field in ["kernel", "commit", "declares", "seed", "seeds", "not_run"] {
        assert!(json.get(field).is_some(), "{field} is missing");
    }
    assert_eq!(json["cases"][0]["id"], "contract/ipv6");
    assert_eq!(json["cases"][0]["outcome"], "failed");
    assert_eq!(json["cases"][1]["profile"], "fence");
    let junit = report.to_junit().expect("it serialises");
    for part in
        ["tests=\"2\"", "failures=\"1\"", "fenced/ballots-only-rise", "a &lt;hook&gt; &amp;"]
    {
        assert!(junit.contains(part), "{part} is missing in {junit}");
    }
    let directory = std::env::temp_dir().join(format!("electrode-report-{}", std::process::id()));
    report.write(&directory).expect("the directory is made");
    let written = std::fs::read_to_string(directory.join("conformance-limited-a-hook-more.json"));
    std::fs::remove_dir_all(&directory).expect("it is there");
    assert!(written.expect("the file is there").contains(SCHEMA));
}

#[test]
fn a_failing_seed_is_told_and_repeats_alone() {
    /// A backend whose clusters fail from the third seed on.
    struct Third;
    impl Harness for Third {
        fn name(&self) -> &'static str {
            "third"
        }
        fn declares(&self) -> Features {
            Features::ALL
        }
        fn cluster(&self, spec: &ClusterSpec, seed: u64) -> Result<Box<dyn Cluster>, SetupError> {
            assert!(seed != 3, "the third");
            MemoryHarness::default().cluster(spec, seed)
        }
    }
    let random = case("contiguous/random-arrivals");
    let told = run_case(&random, &Third, Seeds::default(), true).outcome;
    assert!(matches!(&told, Outcome::Failed(why) if why.contains("ELECTRODE_SEED=3")), "{told:?}");
    let only = |seed| Seeds { one: Some(seed), count: None };
    assert!(matches!(run_case(&random, &Third, only(3), true).outcome, Outcome::Failed(_)));
    assert_eq!(run_case(&random, &Third, only(4), true).outcome, Outcome::Passed);
}
