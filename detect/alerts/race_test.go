//go:build race

package alerts_test

func init() { raceDetector = true }
