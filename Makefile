# `make test` installs what the tests need and runs them all; the other targets are its parts.
.PHONY: test tools lint unit

test: tools lint unit

# Servers that tests start as plain processes, and the redistributable parts around them.
tools:
	@deploy/tests/install-tools

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

unit:
	cargo test --workspace
