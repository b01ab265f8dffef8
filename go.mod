module spire-falco

go 1.26.6

require github.com/stretchr/testify v1.12.1

require (
	github.com/google/go-containerregistry v0.22.1 // indirect
	github.com/spiffe/go-spiffe/v2 v2.9.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
