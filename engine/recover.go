package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"spire-falco/config"
	"spire-falco/detect/kube"
	"spire-falco/engine/helm"
	"spire-falco/internal/filelock"
)

// recoverReleases takes up the stack's Helm releases that a killed run left unfinished, and tells whether there was any.
// It does nothing while another run may be at work on them, and without a cluster that answers.
func (e *Engine) recoverReleases(ctx context.Context, deployment json.RawMessage) (bool, error) {
	if e.opts.Cluster == nil {
		return false, nil
	}
	releases, err := releasesOf(deployment)
	if err != nil {
		return false, err
	}
	look := func() ([]helm.Unfinished, error) {
		found, err := e.opts.Cluster.Unfinished(ctx, releases)
		if err != nil && ctx.Err() == nil {
			if !kube.IsRetriable(err) { // it answers, and refuses; a cluster that is not there is none of this step's business
				e.tell("%v\n", err)
			}
			return nil, nil
		}
		return found, err
	}
	found, err := look()
	if err != nil || len(found) == 0 {
		return false, err
	}
	unlock, err := e.opts.Backend.lockReleases(ctx, e)
	if err != nil {
		return false, err
	}
	defer unlock()
	if e.opts.Backend.locked() {
		return false, nil // the engine refuses this run too, and says who holds the lock
	}
	if err := e.awaitPlugins(ctx, found); err != nil {
		return false, err
	}
	if e.opts.Backend.locked() {
		return false, nil
	}
	// What looks the same before and after a time without another run is nobody's work.
	again, err := look()
	if err != nil {
		return false, err
	}
	recovered := false
	slices.Reverse(found) // what needs another release goes first
	for _, u := range found {
		if !slices.Contains(again, u) {
			continue
		}
		if until := u.Since.Add(u.Timeout); e.opts.Backend.fileDir() == "" && time.Now().Before(until) {
			e.tell("the Helm release %s/%s is in %s; should no other run be at work on it, an up after %s recovers it\n",
				u.Namespace, u.Name, u.Status, until.Local().Format(time.TimeOnly))
			continue
		}
		line, err := e.opts.Cluster.Recover(ctx, u)
		if err != nil {
			return recovered, err //nolint:wrapcheck // it names the release
		}
		recovered = true
		e.tell("%s\n", line)
	}
	return recovered, nil
}

// releasesOf lists the Helm releases of the state, those among them that were being created, and no other.
func releasesOf(deployment json.RawMessage) ([]helm.Release, error) {
	if len(deployment) == 0 {
		return nil, nil
	}
	var state apitype.DeploymentV3
	if err := json.Unmarshal(deployment, &state); err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	var all []helm.Release
	add := func(r apitype.ResourceV3, creating bool) {
		release := helm.Release{Creating: creating, Timeout: helmTimeout}
		release.Name, _ = r.Inputs["name"].(string) // a secret is no string here, and none of ours
		release.Namespace, _ = r.Inputs["namespace"].(string)
		if seconds, ok := r.Inputs["timeout"].(float64); ok {
			release.Timeout = time.Duration(seconds * float64(time.Second))
		}
		same := func(o helm.Release) bool { return o.Name == release.Name && o.Namespace == release.Namespace }
		if string(r.Type) == releaseType && !r.Delete && release.Name != "" && release.Namespace != "" && !slices.ContainsFunc(all, same) {
			all = append(all, release)
		}
	}
	for _, r := range state.Resources {
		add(r, false)
	}
	for _, op := range state.PendingOperations {
		add(op.Resource, op.Type == apitype.OperationTypeCreating)
	}
	return all, nil
}

// helmTimeout is the provider's timeout of a release that names none.
const helmTimeout = 5 * time.Minute

// lockReleases keeps two runs of this checkout from recovering the same release.
func (b *Backend) lockReleases(ctx context.Context, e *Engine) (func(), error) {
	dir := filepath.Join(b.dir, config.StateDir(b.stack))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the folder of the state: %w", err)
	}
	return filelock.Lock(ctx, filepath.Join(dir, "releases.lock"), "the recovery of Helm releases", e.notices()) //nolint:wrapcheck // it names the lock
}

// awaitPlugins waits until no Kubernetes plugin of the stack is left over: the engine's plugins outlive it by minutes
// when it is killed, and may still end what they have begun.
func (e *Engine) awaitPlugins(ctx context.Context, found []helm.Unfinished) error {
	var longest time.Duration
	for _, u := range found {
		longest = max(longest, u.Timeout)
	}
	deadline := time.Now().Add(longest)
	said := 0
	for {
		pid := plugin(e.opts.Backend.WorkDir)
		if pid == 0 {
			return nil
		}
		if pid != said {
			said = pid
			e.tell("waiting for a plugin of another run of this stack (process %d), which may still be at work on a Helm release; Ctrl-C ends the wait\n", pid)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("a plugin of another run of this stack (process %d) has not ended in %s: end it, then run this again", pid, longest)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("ended the wait for a plugin of another run (process %d): %w", pid, ctx.Err())
		case <-time.After(pluginInterval):
		}
	}
}

// pluginInterval is how often a plugin is looked for while it is waited for.
const pluginInterval = 200 * time.Millisecond

// plugin is a process of the Kubernetes plugin that runs in this folder, as the engine starts it; 0 if there is none, or
// the system cannot tell.
func plugin(dir string) int {
	files, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return 0
	}
	for _, file := range files {
		program, err := os.Readlink(file)
		if err != nil || filepath.Base(strings.TrimSuffix(program, " (deleted)")) != "pulumi-resource-kubernetes" {
			continue
		}
		process := filepath.Dir(file)
		if cwd, err := os.Readlink(filepath.Join(process, "cwd")); err != nil || cwd != dir {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(process)); err == nil {
			return pid
		}
	}
	return 0
}
