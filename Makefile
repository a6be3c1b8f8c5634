# `make test` installs what the tests need and runs them all; the other targets are its parts.
.PHONY: test tools lint unit e2e api faults chaos deny

test: tools lint unit e2e api faults

# What tests start or drive: a Redis, a load balancer, a browser, a client library.
tools:
	@deploy/tests/install-tools

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

unit:
	cargo test --workspace

# The built programs as clients, backends and operators meet them.
e2e: tools
	# With the tests, so that dependencies have the features, and are the builds, that `unit` has made.
	cargo build --workspace --bins --tests
	cd deploy/tests/e2e && npm --silent test

# The HTTP API against its own description: calls of every kind, made up from a fixed seed.
api: tools
	fanout/tests/schemathesis

# Faults from fixed seeds on each topology, and gateways without one of their detectors, which must be found out.
faults: tools
	loadtest/chaos-tests short

# The same, and longer with seeds that are drawn: some minutes more, so not a part of `make test`.
chaos: tools
	loadtest/chaos-tests

# Licences, advisories and doubles of dependencies. Not a part of `make test`, because its tool takes minutes to
# build: cargo install --locked cargo-deny
deny:
	cargo deny check
