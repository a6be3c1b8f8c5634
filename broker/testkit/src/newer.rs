//! A newer Redis than distributions have.

use std::path::PathBuf;

/// The program of a Redis 8, where `deploy/tests/install-tools` could install one. Tests that need it say so and pass without.
#[must_use]
pub fn redis_8() -> Option<PathBuf> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/tests/.redis-8/redis-server");
    let program = PathBuf::from(program);
    if program.is_file() {
        return Some(program);
    }
    #[expect(clippy::print_stderr, reason = "who runs the tests must see what was left out")]
    {
        eprintln!("SKIPPED for want of Redis 8: run deploy/tests/install-tools");
    }
    None
}
