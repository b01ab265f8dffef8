//go:build race

package ruleset_test

// raceDetector tells that the test runs under the race detector, which allocates on its own.
const raceDetector = true
