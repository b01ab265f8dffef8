// Package helm takes up the Helm releases that a killed run left unfinished. Helm refuses to upgrade such a release, so
// nothing else could.
package helm

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"spire-falco/detect/kube"
	"spire-falco/gotool"
	"spire-falco/internal/redact"
	"spire-falco/report"
)

const (
	// lookTimeout bounds the look at all releases: a cluster that does not answer must not hold up a run, which says so better.
	lookTimeout = 15 * time.Second
	// workTimeout bounds one rollback or uninstall, hooks included. A rollback does not wait for pods.
	workTimeout = 5 * time.Minute
	// maxMessage is how much of Helm's error is shown, in characters.
	maxMessage = 600
)

// Build returns the path of the Helm CLI that tools/helm of the project's folder pins. It is built when the cache does
// not have it, with progress on log.
func Build(ctx context.Context, project string, log io.Writer) (string, error) {
	return gotool.Build(ctx, gotool.Tool{
		Name: "helm", Dir: filepath.Join(project, "tools", "helm"), Module: "helm.sh/helm/v3", Package: "helm.sh/helm/v3/cmd/helm",
	}, log) //nolint:wrapcheck // it names the tool
}

// Release is a Helm release of the stack.
type Release struct {
	Name, Namespace string
	// Creating means that the state has it as being created, not as created: all that can be the stack's is a first revision.
	Creating bool
	// Timeout of Helm's operations on it: no operation of another run can be older.
	Timeout time.Duration
}

// Unfinished is a release whose newest revision is one that Helm did not finish.
type Unfinished struct {
	Release

	// Revision is the newest, and Status what Helm's Secret says of it, such as pending-upgrade.
	Revision int
	Status   string
	// Since is when that status was written.
	Since time.Time
	// Target is the revision to roll back to; 0 means that the release has to be uninstalled.
	Target int
}

// Cluster is where the releases are.
type Cluster struct {
	// Kubeconfig is the absolute path of the file, and Context the one to take of it.
	Kubeconfig, Context string
	// CLI returns the path of the Helm CLI. It is called only when there is something to do: the CLI may have to be built.
	CLI func(context.Context) (string, error)
}

// Unfinished finds those of the releases that Helm left unfinished. It reads labels alone, no release's content. The
// error satisfies kube.IsRetriable when the cluster could not be reached.
func (c *Cluster) Unfinished(ctx context.Context, releases []Release) ([]Unfinished, error) {
	if len(releases) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	client, err := kube.New(c.Kubeconfig, c.Context)
	if err != nil {
		return nil, fmt.Errorf("look for unfinished Helm releases: %w", err)
	}
	var found []Unfinished
	for _, r := range releases {
		history, err := history(ctx, client, r)
		if err != nil {
			return nil, fmt.Errorf("look at the Helm release %s/%s: %w", r.Namespace, r.Name, err)
		}
		if u, ok := judge(r, history); ok {
			found = append(found, u)
		}
	}
	return found, nil
}

// revision is one revision of a release, as the labels of its Secret describe it.
type revision struct {
	number int
	status string
	since  time.Time
}

// history reads the revisions of a release, in no order. Helm's labels are the index that it finds releases by.
func history(ctx context.Context, client *kube.Client, r Release) ([]revision, error) {
	secrets, err := client.ListMetadata(ctx, "/api/v1/namespaces/"+r.Namespace+"/secrets", "owner=helm,name="+r.Name)
	if err != nil {
		return nil, err
	}
	var all []revision
	for _, s := range secrets {
		number, err := strconv.Atoi(s.Labels["version"])
		if err != nil {
			continue // not written by Helm, which would not find it either
		}
		since := s.CreationTimestamp
		if at, err := strconv.ParseInt(s.Labels["modifiedAt"], 10, 64); err == nil {
			since = time.Unix(at, 0)
		}
		all = append(all, revision{number: number, status: s.Labels["status"], since: since})
	}
	return all, nil
}

// judge tells whether the release is unfinished, and what its history allows: back to the newest revision that is
// deployed, or was, else nothing of it has ever worked and it is uninstalled. An uninstall that was begun has removed
// objects, so it is ended.
func judge(r Release, history []revision) (Unfinished, bool) {
	if len(history) == 0 {
		return Unfinished{}, false
	}
	newest := slices.MaxFunc(history, byNumber)
	u := Unfinished{Release: r, Revision: newest.number, Status: newest.status, Since: newest.since}
	switch newest.status {
	case "uninstalling":
	case "pending-install", "pending-upgrade", "pending-rollback":
		u.Target = last(history, "deployed")
		if u.Target == 0 {
			u.Target = last(history, "superseded")
		}
	default:
		return Unfinished{}, false
	}
	if r.Creating && (len(history) > 1 || newest.number != 1) {
		return Unfinished{}, false // somebody else's release of that name: Helm does not install over one
	}
	return u, true
}

func byNumber(a, b revision) int { return cmp.Compare(a.number, b.number) }

// last is the newest revision of that status; 0 if there is none.
func last(history []revision, status string) int {
	number := 0
	for _, r := range history {
		if r.status == status {
			number = max(number, r.number)
		}
	}
	return number
}

// Recover rolls the release back, or uninstalls it, and returns a line that says what was done. When Helm failed in a way
// that leaves a release that it does upgrade, the line says so. The error names the command to run by hand.
func (c *Cluster) Recover(ctx context.Context, u Unfinished) (string, error) {
	was := fmt.Sprintf("the Helm release %s/%s was left in %s (revision %d)", u.Namespace, u.Name, u.Status, u.Revision)
	args, done := []string{"rollback", u.Name, strconv.Itoa(u.Target)}, fmt.Sprintf("rolled back to revision %d", u.Target)
	if u.Target == 0 {
		args, done = []string{"uninstall", u.Name, "--wait"}, "uninstalled, to be installed again"
	}
	args = append(args, "--namespace", u.Namespace)
	cli, err := c.CLI(ctx)
	if err != nil {
		return "", fmt.Errorf("%s, and the Helm CLI to recover it cannot be had: %w", was, err)
	}
	if err = c.run(ctx, cli, append(slices.Clone(args), "--timeout", workTimeout.String())); err == nil {
		return was + ": " + done, nil
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s, and recovering it was interrupted: %w", was, ctx.Err())
	}
	if left, lookErr := c.Unfinished(ctx, []Release{u.Release}); lookErr == nil && len(left) == 0 {
		return fmt.Sprintf("%s: helm %s failed (%v), but left it so that Helm upgrades it", was, args[0], err), nil
	}
	return "", fmt.Errorf("%s, and it could not be recovered: %w; by hand: helm %s --kubeconfig %s --kube-context %s",
		was, err, strings.Join(args, " "), c.Kubeconfig, c.Context)
}

// run runs Helm on the cluster, with nothing of the user's Helm: no other cluster, storage or plugin.
func (c *Cluster) run(ctx context.Context, cli string, args []string) error {
	dir, err := os.MkdirTemp("", "spire-falco-helm-")
	if err != nil {
		return fmt.Errorf("make a folder for Helm: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder

	ctx, cancel := context.WithTimeout(ctx, workTimeout+time.Minute) // Helm ends by itself first
	defer cancel()
	cmd := exec.CommandContext(ctx, cli, append(args, "--kubeconfig", c.Kubeconfig, "--kube-context", c.Context)...) //nolint:gosec // the pinned Helm; names from the state
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "HELM_") && !strings.HasPrefix(v, "KUBECONFIG=") {
			cmd.Env = append(cmd.Env, v) // credential plugins of a kubeconfig need theirs
		}
	}
	cmd.Env = append(cmd.Env, "HELM_DRIVER=secret", "HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, report.Bounded(redact.String(strings.TrimSpace(stderr.String())), maxMessage))
	}
	return nil
}
