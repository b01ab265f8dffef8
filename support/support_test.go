package support

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// dateVariable is the environment variable that sets the day, such as 2027-06-01, for trying out what happens then.
const dateVariable = "SUPPORT_DATE"

func today(t *testing.T) time.Time {
	t.Helper()
	set := os.Getenv(dateVariable)
	if set == "" {
		return time.Now().UTC()
	}
	day, err := time.Parse(dateLayout, set)
	require.NoError(t, err, dateVariable)
	return day
}

// TestNoPinnedVersionIsOutOfSupport prints a warning for a pin that is near its end, and fails for one that is past it.
func TestNoPinnedVersionIsOutOfSupport(t *testing.T) {
	windows, err := Windows()
	require.NoError(t, err)
	pins, err := Pins()
	require.NoError(t, err)
	for _, p := range pins {
		state, why, err := Judge(p, windows, today(t))
		require.NoError(t, err)
		assert.NotEqual(t, Ended, state, why)
		if state == Ending {
			mark := "warning: "
			if os.Getenv("GITHUB_ACTIONS") != "" {
				mark = "::warning::"
			}
			fmt.Println(mark + why)
		}
	}
}

func TestAPinIsReportedBeforeItsSupportEndsAndRefusedAfter(t *testing.T) {
	t.Parallel()
	windows := []Window{
		{Project: Kubernetes, Minor: "1.36", Ends: time.Date(2027, 6, 28, 0, 0, 0, 0, time.UTC), Source: "its page"},
		{Project: SPIRE, Minor: "1.15", Source: "ends when 1.17.0 is released"},
		{Project: SPIRE, Minor: "1.1", Ends: time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
	pin := Pin{Project: Kubernetes, Version: "1.36.3", Where: "the default"}
	kept := pin
	kept.Kept = "it is needed"
	for _, tt := range []struct {
		name, day string
		pin       Pin
		state     State
		why       string
	}{
		{"long before", "2026-11-25", pin, Supported, "supported until 2027-06-28"},
		{"31 days before", "2027-05-28", pin, Supported, "supported until"},
		{"29 days before", "2027-05-30", pin, Ending, "kubernetes 1.36.3, the default: support ends on 2027-06-28"},
		{"the last day", "2027-06-27", pin, Ending, "ends on"},
		{"the first day without", "2027-06-28", pin, Ended, "support ended on 2027-06-28 (its page)"},
		{"kept for a reason", "2027-06-28", kept, Ending, "kept because it is needed"},
		{"no date is known", "2030-01-01", Pin{Project: SPIRE, Version: "1.15.3"}, Supported, "ends when 1.17.0 is released"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			day, err := time.Parse(dateLayout, tt.day)
			require.NoError(t, err)
			state, why, err := Judge(tt.pin, windows, day)
			require.NoError(t, err)
			assert.Equal(t, tt.state, state)
			assert.Contains(t, why, tt.why)
		})
	}
	_, _, err := Judge(Pin{Project: Kubernetes, Version: "1.3.6"}, windows, time.Time{})
	require.ErrorContains(t, err, "kubernetes 1.3.6 () is in no line")
}

func TestEveryWindowHasItsSource(t *testing.T) {
	t.Parallel()
	windows, err := Windows()
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, w := range windows {
		assert.NotEmpty(t, w.Source, "%s %s", w.Project, w.Minor)
		assert.False(t, seen[w.Project+" "+w.Minor], "%s %s is there twice", w.Project, w.Minor)
		seen[w.Project+" "+w.Minor] = true
	}
}
