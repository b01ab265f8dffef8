# Every command of the project. STACK chooses the stack: its settings are in Pulumi.$(STACK).yaml.
STACK ?= dev
ARGS ?=
RUN = go run -ldflags "-s -w" ./cmd/stack --stack $(STACK)

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ The stack

.PHONY: preview
preview: ## Check settings and rules and plan the whole stack; changes nothing
	@$(RUN) preview $(ARGS)

.PHONY: up
up: ## Bring the stack up
	@$(RUN) up

.PHONY: down
down: ## Destroy everything that the stack made
	@$(RUN) down

.PHONY: outputs
outputs: ## Print the outputs of the last up
	@$(RUN) outputs

.PHONY: pulumi
pulumi: ## Run the Pulumi CLI with this project's state: make pulumi ARGS="config set --secret KEY"
	@$(RUN) pulumi -- $(ARGS)

.PHONY: verify
verify: ## Attack the running stack and show which alert arrived; make verify ARGS="--help"
	@$(RUN) verify $(ARGS)

.PHONY: alerts
alerts: ## Show Falco's alerts; make alerts ARGS="--since 10m --min-priority warning"
	@$(RUN) alerts $(ARGS)

.PHONY: rules
rules: ## Run the recorded attacks through the rules
	@$(RUN) rules test

##@ Development

.PHONY: build
build: ## Build the programs falcorules, stack and stack-engine into .bin
	CGO_ENABLED=0 go build -ldflags "-s -w" -o .bin/falcorules ./cmd/falcorules
	CGO_ENABLED=0 go build -ldflags "-s -w" -o .bin/stack ./cmd/stack # without the C library it starts half a millisecond earlier
	go build -ldflags "-s -w" -o .bin/stack-engine ./cmd/stack-engine

.PHONY: test
test: ## Run every test; the first time builds SPIRE and a Kubernetes API server from Go modules
	go test -timeout 45m ./...

.PHONY: minikube-test
minikube-test: ## Hold settings and scripts against a real Minikube, built from its Go module; makes no node
	MINIKUBE=build go test -count=1 -timeout 60m -v ./tests/minikube

.PHONY: support
support: ## Report the pinned versions whose support ends or has ended
	go test -count=1 -v -run TestNoPinnedVersion ./support

.PHONY: race
race: ## Run the tests of the packages that do not need the Pulumi SDK under the race detector
	go test -race -timeout 45m $$(go list -f '{{if not .Standard}}{{.ImportPath}} {{join .Deps ","}}{{end}}' ./falco/... ./charts/... ./cmd/... ./report/... ./internal/... ./config ./support ./values ./gotool ./rules/... ./mtls/... ./detect/... ./policy/... | awk '!/pulumi\/pulumi\/sdk/ {print $$1}')

# Each linter is built in the module that pins it: their dependencies do not go together.
BUILD = go build -o "$(CURDIR)/.bin/"

.PHONY: lint
lint: ## Run vet, golangci-lint, gofumpt, shellcheck and actionlint
	go vet ./...
	mkdir -p .bin
	cd tools/lint && $(BUILD) github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	cd tools/actionlint && $(BUILD) github.com/rhysd/actionlint/cmd/actionlint
	.bin/golangci-lint run --allow-parallel-runners ./...
	.bin/actionlint
	git ls-files -z '*.sh' '.ci/run' '.ci/falcorules' | xargs -0 shellcheck --severity=style

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities in what the programs call; asks vuln.go.dev
	mkdir -p .bin
	cd tools/vuln && $(BUILD) golang.org/x/vuln/cmd/govulncheck
	.bin/govulncheck ./...

.PHONY: tidy-check
tidy-check: ## Check that every go.mod is tidy
	@for mod in $$(git ls-files '*go.mod'); do echo "$$mod"; (cd "$$(dirname "$$mod")" && go mod tidy -diff) || exit 1; done

.PHONY: generate
generate: ## Write Pulumi.yaml and the tables of settings, guarded keys and live acts from their data
	UPDATE=1 go test ./config -count=1 -run 'TestPulumiYAML|TestTheTablesInTheDocs'
	UPDATE=1 go test ./rules/scenario -count=1 -run TestTheTableOfLiveActs
