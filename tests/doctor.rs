//! The example `doctor`, as its users run it.
#![allow(clippy::unwrap_used, reason = "a panic is a test's verdict")]
#![cfg(all(feature = "ebpf", target_os = "linux"))]

mod privileged;

use std::path::PathBuf;
use std::process::{Command, Output};

use electrode_conformance::testbed::BridgeBed;
use privileged::{ForEverybody, is_privileged};

/// `cargo test` builds the examples beside the tests, except when it is asked for one test alone.
fn doctor() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(|deps| deps.parent()).unwrap();
    let doctor = folder.join("examples/doctor");
    if !doctor.exists() {
        let words = ["build", "--example", "doctor", "--features", "ebpf"];
        let built = Command::new(env!("CARGO")).args(words).status().unwrap();
        assert!(built.success() && doctor.exists(), "{doctor:?} cannot be built");
    }
    doctor
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn it_says_what_is_wrong_with_the_loopback() {
    for target in ["lo", "127.0.0.1"] {
        let output = Command::new(doctor()).arg(target).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("lo is the loopback: no frame leaves by it"), "{said}");
        assert!(said.ends_with("picked: none; the socket backend does everything\n"), "{said}");
    }
}

#[test]
fn a_missing_interface_is_told() {
    let output = Command::new(doctor()).arg("nowhere0").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("there is no interface nowhere0"), "{}", said(&output));
    let output = Command::new(doctor()).args(["--json", "192.0.2.1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["obstacle"], "interface");
}

#[test]
fn it_tries_every_hook_of_a_veth() {
    if !is_privileged("trying the hooks of a veth") {
        return;
    }
    let bed = BridgeBed::build(1, 1_500).unwrap();
    let [host] = bed.hosts() else { panic!("one host") };
    let run = |words: &[&str]| host.command(doctor()).unwrap().args(words).output().unwrap();
    let output = run(&[host.interface()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).ends_with("picked: tc\n"), "{}", said(&output));
    let json = run(&["--json", host.interface()]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["picked"], "tc");
    let hooks = json["hooks"].as_array().unwrap();
    let works: Vec<_> = hooks.iter().map(|hook| hook["works"].as_bool().unwrap()).collect();
    assert_eq!(works, [true, true, false], "{json}");
    assert_eq!(hooks[2]["hook"], "xdp-native");
    assert!(hooks[2]["why"].as_str().unwrap().starts_with("attached, not echoed: "), "{json}");

    // The capabilities that the documentation names are enough.
    let caps = "+bpf,+perfmon,+net_admin";
    let copy = ForEverybody::copy(&doctor());
    let few = host
        .command("setpriv")
        .unwrap()
        .args(["--reuid", "65534", "--clear-groups"])
        .args([format!("--inh-caps={caps}"), format!("--ambient-caps={caps}")])
        .arg(copy.path())
        .arg(host.interface())
        .output()
        .unwrap();
    assert_eq!(few.status.code(), Some(0), "{}", said(&few));

    let too_long = run(&[host.interface(), "--datagram-len-max", "1473"]);
    assert_eq!(too_long.status.code(), Some(1));
    assert!(said(&too_long).contains("lower `datagram_len_max` to 1472"), "{}", said(&too_long));
}
