//! `standalone reference`: what can be configured, as Markdown.

use std::io::Write;
use std::process::ExitCode;

use chassis::options;
use chassis::process::{COMMON, Program};

/// The word that asks for it.
pub(crate) const WORD: &str = "reference";

const BEGINNING: &str = "\
# Configuration

Every option is a flag, an environment variable and a key of a TOML file (`--config`), in that order of precedence, under one
name; `--check` validates them and exits. `gateway`, `fanout` and `standalone` can share a file: each passes over what only
another one reads. A key with a dot stands in a table: `gateway.rate` is `rate` in `[gateway]`.

- A **duration** has a unit: `250ms`, `25s`, `1h 30m`. A **size** may have one: `512`, `64KiB`, `1MiB`. A **list of texts** is
  written with commas in flags and variables.
- A **secret** is no flag. The file says where it is, `{ env = \"NAME\" }` or `{ file = \"/path\" }`; in the environment the variable
  holds the secret itself, and the same with `_FILE` the path of a file that does.
- A **pattern** is a text in which `*` stands for anything.
- A **template** is any value with placeholders in its texts, such as `\"$body.id\"` or `{ room = \"org:${found}\" }`: see
  [vocabularies](../proto/vocabularies.md#placeholders).

This page is what `standalone reference` prints.

";

/// The page.
pub(crate) fn page(program: &Program) -> String {
    let specs: Vec<_> = COMMON.into_iter().chain(program.options.iter().copied()).collect();
    format!("{BEGINNING}{}", options::reference(&specs))
}

/// Prints it.
pub(crate) fn print(program: &Program) -> ExitCode {
    // Whoever closed the output does not want it.
    _ = std::io::stdout().write_all(page(program).as_bytes());
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROGRAM;

    #[test]
    fn the_page_that_is_kept_is_the_one_that_is_printed() {
        let kept = include_str!("../../configuration.md");
        assert!(kept == page(&PROGRAM), "options changed: cargo run -- reference > deploy/configuration.md");
    }
}
