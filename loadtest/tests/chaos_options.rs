//! What a chaos run says before it starts anything.
#![allow(clippy::unwrap_used)]

use std::process::Command;

fn refusal(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("chaos").args(arguments).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_fault_that_the_topology_does_not_have_is_refused() {
    let refusal = refusal(&["--topology", "sentinel", "--faults", "move-slot", "--seed", "7"]);
    assert!(refusal.contains("move-slot cannot be done to Sentinel"), "{refusal}");
    assert!(refusal.contains("seed 7"), "{refusal}");
}

#[test]
fn a_program_that_is_missing_is_named() {
    let refusal = refusal(&["--programs", "/nonexistent"]);
    assert!(refusal.contains("cargo build -p switchboard-gateway"), "{refusal}");
}
