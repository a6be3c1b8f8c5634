//! Chaos with fixed seeds, and gateways without one of their detectors, which the checker must find out.
//!
//! They need the built programs: `loadtest/chaos-tests` builds them and runs this. What is `short` is part of `make test`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr)]

use std::process::Command;

use serde_json::Value;

/// A run, and what it found. Its seed shows when a test fails.
fn run(seconds: &str, arguments: &[&str], switches: &[(&str, &str)]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(["chaos", "--json", "--seconds", seconds]).args(arguments);
    // The processes of the run inherit them, and those with debug assertions obey.
    command.envs(switches.iter().copied());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    eprintln!("{arguments:?} {switches:?}: {said}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let clean = result["violations"].as_array().unwrap().is_empty();
    assert_eq!(output.status.code(), Some(i32::from(!clean)), "{said}");
    result
}

/// Every promise is kept, and the run was about something.
fn keeps_its_word(seconds: &str, arguments: &[&str]) -> Value {
    let result = run(seconds, arguments, &[]);
    assert!(result["figures"]["deliveries"].as_u64() > Some(100), "{result:#}");
    assert_eq!(result["broken"], serde_json::json!({}), "{:#}", result["violations"]);
    result
}

/// Where Redis loses nothing there is no gap to be told either.
fn tells_no_gap(result: &Value) {
    assert_eq!(result["figures"]["gaps"], serde_json::json!({}));
}

mod short {
    use super::*;

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn one_redis_that_loses_nothing() {
        let faults =
            "kill-gateway,cut-gateway,forsake-gateway,kill-fanout,kill-redis,drop-subscribers,slow-readers";
        tells_no_gap(&keeps_its_word("1", &["--seed", "1", "--faults", faults]));
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn a_replica_that_heard_nothing_takes_over() {
        let arguments = ["--seed", "1", "--topology", "sentinel", "--faults", "stalled-failover"];
        let result = keeps_its_word("1", &arguments);
        assert!(result["figures"]["gaps"]["fork"].as_u64() > Some(0), "{:#}", result["figures"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn slots_of_a_cluster_move_and_a_gateway_stops() {
        let arguments = ["--seed", "1", "--topology", "cluster", "--faults", "move-slot,stop-gateway"];
        tells_no_gap(&keeps_its_word("1", &arguments));
    }

    /// Loses nine of ten frames on purpose, so that in some room on some node none comes through after the last lost one: in all
    /// of them at once that has no chance worth the name.
    const LOSSY: [(&str, &str); 2] = [("CHAOS_LOSE", "90"), ("CHAOS_AUDIT", "1000")];

    /// Audits as good as never, which find by themselves, half a minute late, what others are there to find at once.
    const UNAUDITED: [(&str, &str); 1] = [("CHAOS_AUDIT", "600000")];

    /// A run that must break an invariant, because this is off.
    fn without(detector: &str, arguments: &[&str], switches: &[(&str, &str)], invariants: &[&str]) {
        let switches: Vec<_> = switches.iter().copied().chain([("CHAOS_DISABLE", detector)]).collect();
        let arguments: Vec<_> = ["--seed", "1", "--faults"].iter().chain(arguments).copied().collect();
        let result = run("4", &arguments, &switches);
        for invariant in invariants {
            assert!(result["broken"][invariant].as_u64() > Some(0), "{:#}", result["broken"]);
        }
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn with_all_detectors_lost_frames_are_found() {
        let result = run("4", &["--seed", "1", "--faults", "stall-fanout"], &LOSSY);
        assert_eq!(result["broken"], serde_json::json!({}), "{:#}", result["violations"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn without_a_look_at_offsets_holes_are_passed_over() {
        without("hole", &["stall-fanout"], &LOSSY, &["I3"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn without_audits_the_end_of_a_stream_is_missed() {
        without("audit", &["stall-fanout"], &LOSSY, &["I6"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn without_nonces_a_fork_is_passed_over() {
        without("chain", &["old-file"], &[], &["I4", "I5"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn without_a_read_after_an_interruption_the_end_of_a_stream_is_missed() {
        without("interruption", &["cut-gateway"], &UNAUDITED, &["I6"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn without_probes_a_dead_connection_is_believed_in() {
        without("probe", &["forsake-gateway"], &UNAUDITED, &["I6"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn without_a_look_for_the_primary_a_deposed_one_is_listened_to() {
        without("primary", &["depose-primary", "--topology", "sentinel"], &UNAUDITED, &["I6"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn with_a_look_for_the_primary_a_deposed_one_is_left() {
        let arguments = ["--seed", "1", "--faults", "depose-primary", "--topology", "sentinel"];
        let result = run("1", &arguments, &UNAUDITED);
        assert_eq!(result["broken"], serde_json::json!({}), "{:#}", result["violations"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn without_a_look_at_full_queues_slow_readers_miss_something() {
        without("overflow", &["slow-readers"], &[], &["I3"]);
    }
}

mod long {
    use super::*;

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn processes_come_and_go() {
        let faults = "kill-gateway,stop-gateway,freeze-gateway,kill-fanout,stop-fanout";
        tells_no_gap(&keeps_its_word("20", &["--faults", faults]));
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn wires_break_and_fall_silent() {
        let faults = "cut-gateway,stall-gateway,forsake-gateway,stall-fanout";
        tells_no_gap(&keeps_its_word("20", &["--faults", faults]));
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn redis_restarts_freezes_and_throws_subscribers_out() {
        let faults = "kill-redis,freeze-redis,drop-subscribers,tiny-buffers";
        tells_no_gap(&keeps_its_word("20", &["--faults", faults]));
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn redis_forgets_while_readers_are_slow() {
        let result = keeps_its_word("20", &["--faults", "slow-readers,old-file,empty-redis"]);
        assert!(result["figures"]["gaps"]["reset"].as_u64() > Some(0), "{:#}", result["figures"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn replicas_take_over() {
        keeps_its_word("20", &["--topology", "sentinel"]);
    }

    #[test]
    #[ignore = "loadtest/chaos-tests"]
    fn slots_move_and_nodes_of_a_cluster_restart() {
        tells_no_gap(&keeps_its_word("20", &["--topology", "cluster"]));
    }
}
