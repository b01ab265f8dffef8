package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/auto/optrefresh"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// settle ends what a killed run left open: its lock, and operations of which nobody knows whether they were done.
//
// The engine itself can only forget a create that it does not know the end of, and then what was made all the same is
// lost to the stack, and in the way of the next create. Every object of this stack has a name that the program gives it,
// so its ID is known: it is put into the state, and the refresh that follows takes it out again if it is not there.
// (`pulumi refresh --import-pending-creates` of CLI 3.259 does not: it drops what it should import.)
//
// Before an up, releases that Helm left unfinished are recovered too; Helm uninstalls them as they are.
func (e *Engine) settle(ctx context.Context, up bool) error {
	if err := e.unlock(); err != nil {
		return err
	}
	exported, err := e.stack.Export(ctx)
	if err != nil {
		return e.failed("read the state", err)
	}
	recovered := false
	if up {
		if recovered, err = e.recoverReleases(ctx, exported.Deployment); err != nil {
			return err
		}
	}
	adopted, open, err := adopt(exported.Deployment)
	if err != nil || len(open) == 0 && !recovered {
		return err
	}
	if len(open) > 0 {
		e.tell("an earlier run was interrupted while %s; looking at what is really there\n", strings.Join(open, ", "))
		exported.Deployment = adopted
		if err := e.stack.Import(ctx, exported); err != nil {
			return e.failed("settle the interrupted run", err)
		}
	}
	if _, err = e.stack.Refresh(ctx, optrefresh.ClearPendingCreates()); err != nil {
		return e.failed("refresh", err)
	}
	return nil
}

// tell prints a notice.
func (e *Engine) tell(format string, args ...any) { fmt.Fprintf(e.notices(), format, args...) }

// notices is where notices go.
func (e *Engine) notices() io.Writer {
	if e.opts.Err == nil {
		return io.Discard
	}
	return e.opts.Err
}

// adopt puts every resource that was being created, and whose ID is known, into the state as if it had been created. It
// names the operations that were open, such as "creating falco-release"; none means that there is nothing to settle.
func adopt(deployment json.RawMessage) (settled json.RawMessage, open []string, err error) {
	var state apitype.DeploymentV3
	if err := json.Unmarshal(deployment, &state); err != nil {
		return nil, nil, fmt.Errorf("read the state: %w", err)
	}
	if len(state.PendingOperations) == 0 {
		return deployment, nil, nil
	}
	var left []apitype.OperationV2
	for _, op := range state.PendingOperations {
		open = append(open, string(op.Type)+" "+op.Resource.URN.Name())
		r := op.Resource
		if op.Type != apitype.OperationTypeCreating || !identified(&r) {
			left = append(left, op)
			continue
		}
		state.Resources = insert(state.Resources, r)
	}
	state.PendingOperations = left
	settled, err = json.Marshal(state)
	if err != nil {
		return nil, nil, fmt.Errorf("write the state: %w", err)
	}
	return settled, open, nil
}

// releaseType is the token of a Helm release.
const releaseType = "kubernetes:helm.sh/v3:Release"

// interrupted is added to a command that nobody knows the end of: the next up sees a change and runs it again, and a down
// undoes what it may have done.
const interrupted = "\n# interrupted"

// identified gives r the ID that its provider gave it, and tells whether it is known. A patch and a provider are made
// again instead: that changes nothing, and there is nothing to be lost.
func identified(r *apitype.ResourceV3) bool {
	kind := string(r.Type)
	switch {
	case strings.HasPrefix(kind, "command:"):
		create, ok := r.Inputs["create"].(string)
		if !ok {
			return false
		}
		r.Inputs["create"] = create + interrupted
		r.ID = "interrupted"
		r.Outputs = map[string]any{"stdout": "", "stderr": ""}
		for k, v := range r.Inputs {
			r.Outputs[k] = v
		}
		return true
	case strings.HasPrefix(kind, "kubernetes:") && !strings.HasSuffix(kind, "Patch"):
		named := r.Inputs
		if kind != releaseType {
			named, _ = r.Inputs["metadata"].(map[string]any)
		}
		name, _ := named["name"].(string)
		namespace, _ := named["namespace"].(string)
		if name == "" {
			return false
		}
		if namespace != "" {
			name = namespace + "/" + name
		}
		r.ID = resource.ID(name)
		r.Outputs = nil // so that the provider reads it as one to import
		return true
	}
	return false
}

// insert adds r where the engine wants it: after everything that it depends on. Was it to replace another, that one is
// now to be deleted.
func insert(resources []apitype.ResourceV3, r apitype.ResourceV3) []apitype.ResourceV3 {
	needs := map[string]bool{string(r.Parent): true, string(r.DeletedWith): true}
	for _, d := range r.Dependencies {
		needs[string(d)] = true
	}
	for _, ds := range r.PropertyDependencies {
		for _, d := range ds {
			needs[string(d)] = true
		}
	}
	if i := strings.LastIndex(r.Provider, "::"); i > 0 {
		needs[r.Provider[:i]] = true
	}
	at := len(resources)
	for i := range resources {
		if resources[i].URN == r.URN && !resources[i].Delete {
			resources[i].Delete = true
			at = i
		}
	}
	for i := len(resources) - 1; i >= at; i-- {
		if needs[string(resources[i].URN)] {
			at = i + 1
			break
		}
	}
	out := append([]apitype.ResourceV3(nil), resources[:at]...)
	return append(append(out, r), resources[at:]...)
}
