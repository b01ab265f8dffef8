package engine

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheStateNamesTheChartsThatAreInstalled(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, deployment string
		want             map[string]string
	}{
		{name: "a stack that was never brought up"},
		{name: "no state", deployment: "null", want: map[string]string{}},
		{
			name: "releases and others",
			deployment: `{"resources": [
				{"type": "pulumi:pulumi:Stack"},
				{"type": "kubernetes:core/v1:Namespace", "inputs": {"chart": "spire", "version": "1"}},
				{"type": "kubernetes:helm.sh/v3:Release", "inputs": {"chart": "spire", "version": "0.28.4"}},
				{"type": "kubernetes:helm.sh/v3:Release", "delete": true, "inputs": {"chart": "spire", "version": "0.27.0"}},
				{"type": "kubernetes:helm.sh/v3:Release", "inputs": {"chart": {"4dabf18193072939515e22adb298388d": "secret"}}}
			]}`,
			want: map[string]string{"spire": "0.28.4"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := releases(json.RawMessage(tt.deployment))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	_, err := releases(json.RawMessage("["))
	require.ErrorContains(t, err, "read the state")
}
