# Everything that CI runs.
ci:
    .ci/run

# The demo cluster, until Ctrl-C.
demo:
    cargo run -p mds -- demo

test:
    cargo test --workspace

# Mends what can be mended by itself.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --all-features --fix --allow-dirty

# The benchmark beside its floor and its ideal; docs/performance.md says how to read it.
bench *ARGS:
    cargo run --release -p bench -- {{ARGS}}

# Kills real daemons and a real broker while files go in and out; docs/reliability.md says what must hold.
soak *ARGS:
    cargo run -p mds-tests --bin soak -- {{ARGS}}

# Licences and advisories (needs cargo-deny).
deny:
    cargo deny check

# The compose cluster of the README, tried (needs Docker).
compose:
    tests/compose/run.sh

# The Debian packages (needs cargo-deb).
deb:
    packaging/deb
