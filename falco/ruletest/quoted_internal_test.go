package ruletest

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco/internal/yaml"
)

func TestAQuotedTextIsReadAsItself(t *testing.T) {
	t.Parallel()
	texts := []string{"", "a\xffb", `"\`, "\U0001F600", "\u2028\ufeff\U000e0001\uffff"}
	for r := range rune(0x300) {
		texts = append(texts, "a"+string(r)+"b")
	}
	for _, text := range texts {
		n, err := yaml.ParseOne(quoted(text))
		require.NoError(t, err, "%q", text)
		if utf8.ValidString(text) {
			assert.Equal(t, text, n.Value)
		} else {
			assert.Equal(t, "a\ufffdb", n.Value)
		}
	}
}
