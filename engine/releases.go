package engine

import (
	"context"
	"encoding/json"
	"fmt"
)

// Releases returns the version of each chart that the stack has installed, by the chart's name, as the state has it. A
// stack that was never brought up has none.
func (e *Engine) Releases(ctx context.Context) (map[string]string, error) {
	state, err := e.stack.Export(ctx)
	if err != nil {
		return nil, e.failed("export the state", err)
	}
	return releases(state.Deployment)
}

func releases(deployment json.RawMessage) (map[string]string, error) {
	if len(deployment) == 0 {
		return nil, nil
	}
	var d struct {
		Resources []struct {
			Type   string `json:"type"`
			Delete bool   `json:"delete"`
			Inputs struct {
				Chart   any `json:"chart"`
				Version any `json:"version"`
			} `json:"inputs"`
		} `json:"resources"`
	}
	if err := json.Unmarshal(deployment, &d); err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	installed := map[string]string{}
	for _, r := range d.Resources {
		chart, _ := r.Inputs.Chart.(string)
		version, ok := r.Inputs.Version.(string)
		if r.Type == releaseType && !r.Delete && chart != "" && ok {
			installed[chart] = version
		}
	}
	return installed, nil
}
