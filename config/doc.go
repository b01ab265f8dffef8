// Package config is where every setting of the stack is declared, read, defaulted and validated. Nothing else reads
// Pulumi configuration or the environment variable ENABLE_FALCO. All problems of a configuration are found together,
// before anything is registered with the engine.
package config
