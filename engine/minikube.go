package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"spire-falco/config"
)

// Minikube is what the state keeps of the command that made the stack's Minikube cluster.
type Minikube struct {
	// Environment of the command, its scripts included.
	Environment map[string]string
	// Printed is what its last start printed.
	Printed string
}

// Minikube returns what the state has of the stack's Minikube; nil when it has none.
func (e *Engine) Minikube(ctx context.Context) (*Minikube, error) {
	exported, err := e.stack.Export(ctx)
	if err != nil {
		return nil, e.failed("read the state", err)
	}
	return minikubeIn(exported.Deployment)
}

func minikubeIn(deployment json.RawMessage) (*Minikube, error) {
	if len(deployment) == 0 {
		return nil, nil
	}
	var state apitype.DeploymentV3
	if err := json.Unmarshal(deployment, &state); err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	for _, r := range state.Resources {
		env, _ := r.Inputs["environment"].(map[string]any)
		if r.Type != "command:local:Command" || env["PROFILE"] == nil || env["DELETE_SCRIPT"] == nil {
			continue
		}
		m := &Minikube{Environment: map[string]string{}}
		for k, v := range env {
			m.Environment[k], _ = v.(string)
		}
		m.Printed, _ = r.Outputs["stdout"].(string)
		return m, nil
	}
	return nil, nil
}

// checkKubeconfig is an error when the removal of the Minikube cluster that the state has would delete a kubeconfig that is
// not the stack's. Such a state is one of an earlier version, which took any path; an up brings it to the settings of today.
func (m *Minikube) checkKubeconfig(stack string) error {
	if m == nil {
		return nil
	}
	path := m.Environment["KUBECONFIG"]
	own := "/" + filepath.ToSlash(config.StateDir(stack)) + "/" // of this checkout, or of one that was moved since
	if path == "" || strings.Contains(filepath.ToSlash(filepath.Clean(path)), own) {
		return nil
	}
	return fmt.Errorf("down would delete %s, which is not a file of this stack: an earlier version was given it as cluster.kubeconfig; run up once, which moves the stack to a kubeconfig below %s, then down", path, config.StateDir(stack))
}
