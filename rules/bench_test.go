package rules_test

import (
	"testing"

	"spire-falco/rules"
)

func BenchmarkRender(b *testing.B) {
	in := twoNamespaces()
	for b.Loop() {
		if _, err := rules.Render(in); err != nil {
			b.Fatal(err)
		}
	}
}
