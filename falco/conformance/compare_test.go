package conformance_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/conformance"
)

func TestEveryVersionHasVerdicts(t *testing.T) {
	t.Parallel()
	cases, err := conformance.Cases()
	require.NoError(t, err)
	ids := map[string]bool{}
	for _, c := range cases {
		assert.False(t, ids[c.ID], "case %s is there twice", c.ID)
		ids[c.ID] = true
	}
	for _, v := range falco.Versions() {
		n := 0
		for _, c := range cases {
			if _, ok := c.Verdict(v.Number); ok {
				n++
			}
		}
		assert.Greater(t, n, 4000, v.Number)
	}
}

func verdict(accepted bool, errors ...conformance.Problem) conformance.Verdict {
	return conformance.Verdict{Files: []conformance.FileVerdict{{Accepted: accepted, Errors: errors}}}
}

func TestDifferencesNameWhatIsWrong(t *testing.T) {
	t.Parallel()
	condition, parse := conformance.Problem{"LOAD_ERR_COMPILE_CONDITION", "a"}, conformance.Problem{"LOAD_ERR_YAML_PARSE", "a"}
	for _, tt := range []struct {
		name      string
		want, got conformance.Verdict
		differ    []string
	}{
		{name: "the same", want: verdict(false, condition), got: verdict(false, condition)},
		{name: "another order", want: verdict(false, condition, parse), got: verdict(false, parse, condition)},
		{name: "another message", want: verdict(false, condition), got: verdict(false, conformance.Problem{condition[0], "b"}), differ: []string{
			"file 0: only Falco has the error [LOAD_ERR_COMPILE_CONDITION a]", "file 0: Falco does not have the error [LOAD_ERR_COMPILE_CONDITION b]",
		}},
		{name: "another message of the YAML library", want: verdict(false, parse), got: verdict(false, conformance.Problem{parse[0], "b"})},
		{name: "accepted where Falco refuses", want: verdict(false), got: verdict(true), differ: []string{"file 0: Falco accepts: false, here: true"}},
		{name: "refused where Falco ends", want: conformance.Verdict{Fatal: "x"}, got: verdict(false)},
		{name: "accepted where Falco ends", want: conformance.Verdict{Fatal: "x"}, got: verdict(true), differ: []string{"Falco ends with x; here the files are accepted"}},
		{name: "a file too few", want: verdict(true), got: conformance.Verdict{}, differ: []string{"Falco judges 1 files; here there are 0, "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.differ, conformance.Differences(tt.want, tt.got))
		})
	}
}

func TestTextsThatAreNotKeptComeFromAFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte("- list: names\n"), 0o600))
	texts, err := conformance.Texts(dir)
	require.NoError(t, err)
	c := conformance.Case{Files: []conformance.File{{
		Name: "r.yaml", SHA256: fmt.Sprintf("%x", sha256.Sum256([]byte("- list: names\n"))),
		Edits: []conformance.Edit{{Offset: 2, Delete: 4, Insert: "lst"}},
	}}}
	assert.False(t, c.Complete())
	whole := c.With(texts)
	assert.True(t, whole.Complete())
	assert.Equal(t, "- lst: names\n", whole.Files[0].Text)
	assert.False(t, c.With(nil).Complete())
	_, err = conformance.Texts(filepath.Join(dir, "nowhere"))
	require.ErrorContains(t, err, "nowhere")
}
