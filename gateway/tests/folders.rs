//! What the architecture page says of the gateway's folders: each knows only those below it.

// The helpers outside of test functions may fail like these.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

/// The folders of `gateway/src` from the top, as the page lists them.
const FOLDERS: [&str; 10] =
    ["transport", "connection", "node", "hub", "session", "peer", "socketio", "engineio", "endpoint", "wire"];

/// Files that all of them may know.
const BENEATH: [&str; 2] = ["metrics", "clock"];

#[test]
fn each_folder_knows_only_those_below_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (at, folder) in FOLDERS.iter().enumerate() {
        let files = files_under(&source.join(folder));
        assert!(!files.is_empty(), "{folder} is not there any more");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for module in modules_named_in(&text) {
                let below = FOLDERS.iter().skip(at).chain(&BENEATH).any(|known| *known == module);
                assert!(below, "{} reaches up, or aside, to {module:?}", file.display());
            }
        }
    }
}

/// All modules of the crate that a file names by their paths.
fn modules_named_in(text: &str) -> impl Iterator<Item = &str> {
    let paths = text.split("crate::").skip(1);
    paths.map(|path| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
}

fn files_under(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}
