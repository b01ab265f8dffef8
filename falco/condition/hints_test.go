package condition_test

import (
	"testing"

	"spire-falco/falco"
	"spire-falco/falco/condition"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnEventIsSuggestedOnlyWhereASlipMadeTheWord(t *testing.T) {
	t.Parallel()
	lang := condition.For(falco.Newest())
	for word, want := range map[string]string{
		"opeanat": "did you mean openat?", "excve": "did you mean execve?", "x": "", "na": "", "ope": "did you mean open?", "xyz": "",
	} {
		e, err := lang.Parse("evt.type = " + word)
		require.NoError(t, err)
		_, err = lang.Check(e)
		var ce *condition.Error
		require.ErrorAs(t, err, &ce, word)
		assert.Equal(t, want, ce.Hint, word)
	}
}
