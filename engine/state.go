package engine

import (
	"encoding/json"
	"fmt"
	"strings"
)

// pendingOperations names the operations that the state does not know the end of, such as "creating falco-release".
func pendingOperations(deployment json.RawMessage) (string, error) {
	var state struct {
		Pending []struct {
			Type     string `json:"type"`
			Resource struct {
				URN string `json:"urn"`
			} `json:"resource"`
		} `json:"pending_operations"`
	}
	if err := json.Unmarshal(deployment, &state); err != nil {
		return "", fmt.Errorf("read the state: %w", err)
	}
	names := make([]string, len(state.Pending))
	for i, p := range state.Pending {
		names[i] = p.Type + " " + p.Resource.URN[strings.LastIndex(p.Resource.URN, "::")+2:]
	}
	return strings.Join(names, ", "), nil
}
