package detection_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/falco"
	"spire-falco/falco/condition"
	"spire-falco/falco/ruleset"
	"spire-falco/rules"
)

// engine is a loaded set of rules that fires the first matching rule, as Falco does by default.
type engine struct {
	set    *ruleset.Ruleset
	engine *ruleset.Engine
}

// recordedBy is the Falco that made the recordings.
func recordedBy() falco.Version {
	v, err := falco.Lookup("0.40.0")
	if err != nil {
		panic(err)
	}
	return v
}

// load loads rule files, which must raise neither error nor warning.
func load(t *testing.T, files []rules.File) *engine {
	t.Helper()
	in := make([]ruleset.File, len(files))
	for i, f := range files {
		in[i] = ruleset.File{Name: f.Name, Content: []byte(f.Content)}
	}
	set, report := ruleset.Load(in, ruleset.Options{Falco: recordedBy()})
	require.NoError(t, report.Err())
	assert.Empty(t, report.Warnings)
	return &engine{set: set, engine: set.NewEngine(ruleset.First)}
}

// fire returns the name of the rule that fires on an event, or "".
func (e *engine) fire(ev condition.Event) (string, error) {
	if fired := e.engine.Match(ev); len(fired) > 0 {
		return fired[0], nil
	}
	return "", nil
}

// output returns the rendered output of the alert that an event raises.
func (e *engine) output(t *testing.T, ev condition.Event) string {
	t.Helper()
	alerts := e.engine.Eval(ev)
	require.Len(t, alerts, 1)
	return alerts[0].Message
}

func (e *engine) rules() []ruleset.Rule { return e.set.Rules() }
