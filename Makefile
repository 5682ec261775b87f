# make check is what CI runs.
.PHONY: check build demo test race race-packages lint generate e2e bench bench-local bench-scale bench-deploy bench-controller vault consul clean

GO ?= go

build: ## bin/slipway
	$(GO) build -o bin/slipway ./cmd/slipway

demo: ## from commit to QA to PROD, on this machine
	$(GO) run ./cmd/slipway demo

test: ## what the README says
	$(GO) test ./...

RACE = ./internal/local/... ./internal/deploy/... ./internal/drain/... ./internal/rotate/... ./internal/autoscale/... ./internal/release/... ./internal/secrets/... ./internal/registry/... ./internal/placement/... ./internal/rollout/... ./internal/web/...

race: ## the packages with goroutines, under the race detector
	$(GO) test -race $(RACE)

race-packages:
	@printf '%s\n' $(RACE)

e2e: ## real processes, real clients
	$(GO) test -count=1 ./test/...

lint: ## gofmt, vet, staticcheck
	@unformatted=$$(gofmt -l cmd examples internal test); if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

generate: ## generated files are up to date
	$(GO) generate ./internal/local/wire/...
	$(GO) generate ./internal/docs
	git diff --exit-code -- internal/local/wire docs/reference

vault: ## a real Vault server for tests: SLIPWAY_VAULT=$$PWD/bin/vault
	$(GO) build -C test/vault -o $(CURDIR)/bin/vault .

consul: ## a real Consul agent for tests: SLIPWAY_CONSUL=$$PWD/bin/consul
	CGO_ENABLED=0 $(GO) build -C test/consul -o $(CURDIR)/bin/consul/entry .
	CGO_ENABLED=0 $(GO) build -C test/consul -ldflags '-s -w' -o $(CURDIR)/bin/consul/consul github.com/hashicorp/consul

bench: ## figures of docs/benchmarks.md
	$(GO) test -run '^$$' -bench . -benchtime 1s ./internal/capacity/... ./internal/placement/... ./internal/image/... ./internal/local/state/... ./internal/local/balancer/...

bench-local: ## the local AWS beside moto_server, in one run
	$(GO) test -run '^$$' -bench BenchmarkECS -benchtime 2s ./test/bench

bench-deploy: ## one rolling deployment: Slipway beside the AWS CLI and its waiter
	$(GO) test -run '^$$' -bench BenchmarkDeploy -benchtime 3x ./test/bench

bench-controller: ## the controller beside ECS's managed scaling, fourteen days
	SLIPWAY_LONG=1 $(GO) test -count=1 -run TestBesideManagedScaling -v ./test/controller

bench-scale: ## 5,000 instances and 100,000 virtual tasks in one process; the start with empty state
	$(GO) test -run '^$$' -bench 'BenchmarkScale|BenchmarkStart' -benchtime 1x -timeout 30m ./test/bench

check: lint generate test race
	$(GO) run ./cmd/slipway demo --once

clean:
	rm -rf bin
