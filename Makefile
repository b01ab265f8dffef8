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
	@$(RUN) preview

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

##@ Development

.PHONY: test
test: ## Run every test
	go test ./...

.PHONY: generate
generate: ## Write Pulumi.yaml and the settings table from config/declared.go
	UPDATE=1 go test ./config -count=1 -run 'TestPulumiYAML|TestTheSettingsTable'
