//! The client that applications use, unmodified, against this server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use switchboard_gateway::engineio::Config;
use tokio::sync::OnceCell;

use crate::app::Node;

const FILES: [&str; 3] = ["package.json", "package-lock.json", "client.mjs"];

/// The folder in which the client is installed; done once for all tests.
async fn installed() -> &'static Path {
    static FOLDER: OnceCell<PathBuf> = OnceCell::const_new();
    FOLDER.get_or_init(|| async { tokio::task::spawn_blocking(install).await.unwrap() }).await
}

fn install() -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/socketio");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("socketio-client");
    fs::create_dir_all(&folder).unwrap();
    let is_new = |name: &str| fs::read(from.join(name)).ok() != fs::read(folder.join(name)).ok();
    let must_install = is_new("package-lock.json") || !folder.join("node_modules").exists();
    for name in FILES {
        fs::copy(from.join(name), folder.join(name)).unwrap();
    }
    if must_install {
        // Copied last, so that an interrupted installation is done again.
        fs::remove_file(folder.join("package-lock.json")).unwrap();
        fs::copy(from.join("package-lock.json"), folder.join("package-lock.json")).unwrap();
        let installed = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .output()
            .expect("npm, which comes with Node");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    }
    folder
}

/// Runs the scenarios over the given transports. The script ends by itself when it takes too long.
async fn run(transports: &str) {
    let config = Config {
        ping_interval: Duration::from_millis(100),
        ping_timeout: Duration::from_secs(10),
        ..Config::default()
    };
    let node = Node::start(config);
    let mut command = Command::new("node");
    command.arg("client.mjs").arg(node.address.port().to_string()).arg(transports);
    command.current_dir(installed().await).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().expect("node");
    let told =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    assert!(told.contains("all scenarios passed"), "{told}");
    node.has_sessions(0).await;
}

#[tokio::test]
async fn the_client_works_over_a_websocket() {
    run("websocket").await;
}

#[tokio::test]
async fn the_client_works_by_polling_alone() {
    run("polling").await;
}

#[tokio::test]
async fn the_client_works_by_polling_first_and_then_over_a_websocket() {
    run("polling,websocket").await;
}
