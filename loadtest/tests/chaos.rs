//! Short chaos runs, and runs of gateways without one of their detectors, which the checker must find out.
//!
//! They need the programs, twice: `loadtest/short-chaos` builds them and runs this.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Runs with a seed of its own and gives the result, whose seed shows when a test fails.
fn run(arguments: &[&str], programs: Option<PathBuf>) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(["chaos", "--json", "--seconds", "6"]).args(arguments);
    if let Some(programs) = programs {
        command.arg("--programs").arg(programs);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    eprintln!("{arguments:?}: {said}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let clean = result["violations"].as_array().unwrap().is_empty();
    assert_eq!(output.status.code(), Some(i32::from(!clean)), "{said}");
    result
}

/// Every promise is kept, and the run was about something.
fn keeps_its_word(arguments: &[&str]) -> Value {
    let result = run(arguments, None);
    assert!(result["figures"]["deliveries"].as_u64() > Some(100), "{result:#}");
    assert_eq!(result["broken"], serde_json::json!({}), "{:#}", result["violations"]);
    result
}

#[test]
#[ignore = "loadtest/short-chaos"]
fn processes_come_and_go() {
    let result =
        keeps_its_word(&["--faults", "kill-gateway,stop-gateway,freeze-gateway,kill-fanout,stop-fanout"]);
    assert_eq!(result["figures"]["gaps"], serde_json::json!({}));
}

#[test]
#[ignore = "loadtest/short-chaos"]
fn wires_break_and_fall_silent() {
    let result = keeps_its_word(&["--faults", "cut-gateway,stall-gateway,stall-fanout"]);
    assert_eq!(result["figures"]["gaps"], serde_json::json!({}));
}

#[test]
#[ignore = "loadtest/short-chaos"]
fn redis_restarts_freezes_and_throws_subscribers_out() {
    let result = keeps_its_word(&["--faults", "kill-redis,freeze-redis,drop-subscribers,tiny-buffers"]);
    assert_eq!(result["figures"]["gaps"], serde_json::json!({}));
}

#[test]
#[ignore = "loadtest/short-chaos"]
fn redis_forgets_while_readers_are_slow() {
    let result = keeps_its_word(&["--faults", "slow-readers,old-file,empty-redis"]);
    assert!(result["figures"]["gaps"]["reset"].as_u64() > Some(0), "{:#}", result["figures"]);
}

#[test]
#[ignore = "loadtest/short-chaos"]
fn a_replica_that_heard_nothing_takes_over() {
    let result = keeps_its_word(&["--topology", "sentinel", "--faults", "stalled-failover"]);
    assert!(result["figures"]["gaps"]["fork"].as_u64() > Some(0), "{:#}", result["figures"]);
}

#[test]
#[ignore = "loadtest/short-chaos"]
fn slots_move_and_a_node_of_a_cluster_restarts() {
    let result = keeps_its_word(&["--topology", "cluster", "--faults", "move-slot,kill-redis"]);
    assert_eq!(result["figures"]["gaps"], serde_json::json!({}));
}

/// A run of gateways whose switches can be set.
fn with_switches(fault: &str, switches: &[&str]) -> Value {
    let arguments = switches.iter().flat_map(|switch| ["--gateway-arg", switch]);
    let arguments: Vec<&str> = ["--faults", fault].into_iter().chain(arguments).collect();
    let programs = std::env::var_os("CHAOS_TEST_PROGRAMS");
    run(&arguments, Some(programs.unwrap().into()))
}

fn breaks(result: &Value, invariant: &str) {
    assert!(result["broken"][invariant].as_u64() > Some(0), "{:#}", result["broken"]);
}

const LOSSY: [&str; 2] = ["--chaos-lose=30", "--chaos-audit=1s"];

#[test]
#[ignore = "loadtest/short-chaos"]
fn with_all_detectors_lost_frames_are_found() {
    let result = with_switches("stall-fanout", &LOSSY);
    assert_eq!(result["broken"], serde_json::json!({}), "{:#}", result["violations"]);
}

#[test]
#[ignore = "loadtest/short-chaos"]
fn without_a_look_at_offsets_holes_are_passed_over() {
    let [lose, audit] = LOSSY;
    breaks(&with_switches("stall-fanout", &[lose, audit, "--chaos-disable=hole"]), "I3");
}

#[test]
#[ignore = "loadtest/short-chaos"]
fn without_audits_the_end_of_a_stream_is_missed() {
    let [lose, audit] = LOSSY;
    breaks(&with_switches("stall-fanout", &[lose, audit, "--chaos-disable=audit"]), "I6");
}

#[test]
#[ignore = "loadtest/short-chaos"]
fn without_nonces_a_fork_is_passed_over() {
    let result = with_switches("old-file", &["--chaos-disable=chain"]);
    breaks(&result, "I4");
    breaks(&result, "I5");
}

#[test]
#[ignore = "loadtest/short-chaos"]
fn without_a_read_after_an_interruption_the_end_of_a_stream_is_missed() {
    breaks(&with_switches("cut-gateway", &["--chaos-disable=interruption"]), "I6");
}
