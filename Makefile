# Every recipe CI runs, and nothing CI does not. `./test` installs what they need and runs `make ci`.

VENV ?= .venv
BUILT = $(shell cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/debug
export REDKITE_BIN ?= $(BUILT)/redkite
export BUCKET_BIN ?= $(BUILT)/redkite-test-bucket

.PHONY: ci format lint unit moto server blackbox pymilvus pymilvus-cluster docs

ci: format lint unit moto blackbox pymilvus pymilvus-cluster docs

format:
	cargo fmt --all --check

# The same packages and features everywhere, so that nothing is compiled twice: the failure points are in, and
# what tests ask of dependencies is in, too.
FEATURES = --workspace --features redkite-server/failpoints

lint:
	cargo clippy $(FEATURES) --all-targets --quiet -- -D warnings

# Unit, property, contract and golden-file tests of every crate.
unit:
	cargo nextest run $(FEATURES) --filterset 'not package(redkite-tests)' --no-fail-fast --status-level fail

# A second opinion on the object store: its contract on moto, in place of our own S3 service.
moto:
	$(VENV)/bin/python tests/python/with_moto.py cargo nextest run $(FEATURES) --run-ignored only \
		--filterset 'package(redkite-storage) & test(moto)' --status-level fail

# The server that the black-box tests drive: with named failure points.
server:
	cargo build --quiet $(FEATURES) --all-targets

# Real processes: crashes, full disks, garbage, against an exact model.
blackbox: server
	cargo nextest run $(FEATURES) --filterset 'package(redkite-tests)' --no-fail-fast --status-level fail

# The real client.
pymilvus: server
	$(VENV)/bin/python -m pytest tests/python -q

# The same tests, unmodified, against a cluster of separate processes.
pymilvus-cluster: server
	REDKITE_CLUSTER="proxy=2 streamingnode=2 querynode=3 datanode=2" $(VENV)/bin/python -m pytest tests/python -q --ignore tests/python/test_deploy.py

# Docs are for those who work here: private items are in.
docs:
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --quiet
