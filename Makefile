# portolan: the two commands to know are `make lab` and `make test`. Both install what they need.

BIN   := target/debug/portolan
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/portolan/bin
IMAGES := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/portolan/images
export PATH := $(PATH):$(TOOLS)

.PHONY: lab down test lint bench soak build images setup help

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

lab: build images ## a cluster of three nodes on this machine
	@$(BIN) lab up

down: ## take it away again
	@$(BIN) lab down

test: build ## every test: units, the kernel, the API, the walkthrough
	@scripts/setup --test
	@images/build.sh $(IMAGES)
	cargo test --workspace --quiet

lint: ## format, clippy, docs, licences and the dependency law
	@scripts/setup --lint
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --quiet
	cargo deny --log-level error check bans licenses sources

# make bench NAMES="change start" SERVICES=1000,10000 ENDPOINTS=10 MODES=nftables ROUNDS=50; QUICK=yes is one size of each.
bench: ## every figure, measured in release, as a table, a report and a page; NAMES="…" picks, QUICK=yes is short
	@scripts/setup --bench
	@images/build.sh $(IMAGES)
	cargo run --quiet --release -p portolan-bench -- $(NAMES) \
		$(if $(SERVICES),--services $(SERVICES)) $(if $(ENDPOINTS),--endpoints $(ENDPOINTS)) \
		$(if $(MODES),--modes $(MODES)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick)

soak: setup ## an hour of changes, kills and flushes, after which nothing has grown
	cargo bench --quiet -p portolan --bench figures -- soak --minutes $(or $(MINUTES),60)

build: setup
	cargo build --bin portolan

images: build
	@images/build.sh $(IMAGES)
	@for image in $(IMAGES)/*.tar; do $(BIN) image import $$image || exit 1; done

setup:
	@scripts/setup
