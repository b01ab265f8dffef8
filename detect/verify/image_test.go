package verify

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestThePrivilegedPodsImageIsNamedByDigest(t *testing.T) {
	t.Parallel()
	assert.Regexp(t, `^[a-z./-]+:[0-9a-z.-]+@sha256:[0-9a-f]{64}$`, DefaultToolboxImage)
}
