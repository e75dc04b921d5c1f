# p2ptun needs Go and make; the end-to-end tests, the demo and the
# benchmarks need Linux, and root or user namespaces.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@2026.1
FUZZTIME    ?= 1s

.PHONY: build test demo bench reach chaos soak first crash fuzz clean

build: ## the binary, bin/p2ptun
	$(GO) build -trimpath -ldflags="-s -w" -o bin/p2ptun ./cmd/p2ptun

test: ## every test; what was skipped, and why, stands at the end
	$(GO) run ./internal/check -fuzztime $(FUZZTIME)

demo: ## a hub and three nodes behind NATs, with the real commands
	$(GO) run ./internal/demo

bench: ## beside wireguard-go and other relays, about 40 minutes; writes BENCHMARKS.md
	$(GO) run ./internal/bench

reach: ## every two places that a machine may stand in, about 3 minutes; docs/reach.md
	$(GO) run ./internal/reach

chaos: ## the fault table of docs/reliability.md, about 10 minutes
	$(GO) run ./internal/chaos

soak: ## eight nodes under random faults for 20 minutes; into docs/reliability.md
	$(GO) run ./internal/chaos -soak 20m

first: ## how long the first ping takes, about 11 minutes; into docs/reliability.md
	$(GO) run ./internal/chaos -first

crash: ## 50 times each kill -9 and power loss, of the hub and of nodes
	$(GO) test ./internal/e2e -run TestCrash -rounds 50 -timeout 60m -v

fuzz: ## every decoder for two minutes
	$(GO) run ./internal/check -fuzz-only -fuzztime 2m

clean:
	rm -rf bin
