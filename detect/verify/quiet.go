package verify

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"spire-falco/config"
	"spire-falco/detect/kube"
)

// Quiet is the period of normal operation after the attacks, in which none of this project's rules may fire.
type Quiet struct {
	// Seconds is how long it lasted.
	Seconds float64 `json:"seconds"`
	// Done lists what happened in it: rollouts, traffic, rotations.
	Done []string `json:"done"`
	// Skipped lists what this stack does not allow, with the reason.
	Skipped []string `json:"skipped,omitempty"`
	// FalsePositives are the alerts of this project's rules, as Falco wrote them.
	FalsePositives []json.RawMessage `json:"falsePositives"`
	// OtherAlerts counts the alerts of other rules.
	OtherAlerts int `json:"otherAlerts"`
	// Problems lists what failed.
	Problems []string `json:"problems,omitempty"`
}

// OK reports whether there were neither false positives nor problems.
func (q *Quiet) OK() bool { return len(q.FalsePositives) == 0 && len(q.Problems) == 0 }

const (
	quietServer = "quiet-server"
	quietClient = "quiet-client"
	// shortLife is the TTL of the SVIDs of verify's own server and client. SPIRE renews an SVID after half of it.
	shortLife    = "1m"
	rotatedAfter = 30 * time.Second
	requestRate  = "10"
	// answered is the client's name for a successful request.
	answered = "ok"
)

// quiet lets the stack work normally for Options.Quiet and collects the alerts of this project's rules.
func (r *run) quiet(ctx context.Context) (*Quiet, error) {
	q := &Quiet{FalsePositives: []json.RawMessage{}}
	begun, first := time.Now(), r.arrivals.count()
	traffic, err := r.startTraffic(ctx, q, begun)
	if err != nil {
		return nil, err
	}
	for _, w := range r.options.Settings.Workloads {
		r.rollout(ctx, q, "Deployment "+w.Namespace+"/"+w.Name, deploymentPath(w))
	}
	if r.options.Settings.SPIRE.Install {
		r.rolloutAgent(ctx, q)
	} else {
		q.Skipped = append(q.Skipped, "rollout of the SPIRE agent: it does not belong to this stack")
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	pause(ctx, r.options.Quiet-time.Since(begun))
	if traffic {
		r.endTraffic(ctx, q, begun)
	}
	// The last alerts may still be on their way.
	if !pause(ctx, r.options.Settle) {
		return nil, context.Cause(ctx)
	}
	q.Seconds = time.Since(begun).Round(100 * time.Millisecond).Seconds()
	for _, a := range r.arrivals.since(first) {
		if r.ours[a.Rule] {
			q.FalsePositives = append(q.FalsePositives, json.RawMessage(a.Raw))
		} else {
			q.OtherAlerts++
		}
	}
	return q, nil
}

// startTraffic starts a server and a client of verify's own, with a short-lived identity of their own, so that mutual
// TLS and the rotation of SVIDs happen within minutes and the workload's identity is not changed. It returns false when
// this stack does not allow that.
func (r *run) startTraffic(ctx context.Context, q *Quiet, begun time.Time) (bool, error) {
	peer, ok := r.peer()
	if !runsOwn(r.target, ownServer) || !ok {
		q.Skipped = append(q.Skipped,
			"mTLS traffic and rotation: workload "+r.target.Name+" is not the project's own server with a peer")
		return false, nil
	}
	id := "spiffe://" + r.options.Settings.SPIRE.TrustDomain + "/" + Namespace + "/" + r.id
	err := r.registerShortLived(ctx, id)
	if kube.IsNotFound(err) {
		q.Skipped = append(q.Skipped, "mTLS traffic and rotation: the cluster has no ClusterSPIFFEID")
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("register the short-lived identity: %w", err)
	}
	template, err := r.podTemplate(ctx)
	if err != nil {
		return false, err
	}
	// With the workload's account, the pods would also get the workload's own identity.
	template["serviceAccountName"], template["serviceAccount"] = "default", "default"
	address, err := r.startQuietServer(ctx, template, id)
	if err != nil {
		return false, err
	}
	return true, r.startQuietClient(ctx, template, peer, id, address, begun)
}

// registerShortLived registers an identity of its own for the pods of this run.
func (r *run) registerShortLived(ctx context.Context, id string) error {
	spec := kube.Object{
		"spiffeIDTemplate":          id,
		"podSelector":               kube.Object{"matchLabels": map[string]string{Label: r.id}},
		"workloadSelectorTemplates": []string{"k8s:pod-label:" + Label + ":" + r.id},
		"ttl":                       shortLife,
	}
	if class := r.options.Settings.SPIRE.ClassName; class != "" {
		spec["className"] = class
	}
	return r.kube.Create(ctx, identitiesPath, kube.Object{
		"apiVersion": "spire.spiffe.io/v1alpha1", "kind": "ClusterSPIFFEID",
		"metadata": r.metadata("", Namespace+"-"+r.id, nil), "spec": spec,
	})
}

// startQuietServer starts verify's own server, waits until it serves, and returns its address.
func (r *run) startQuietServer(ctx context.Context, template kube.Object, id string) (string, error) {
	name := r.quietPod(quietServer)
	pod, err := r.copyOf(template, name, map[string]string{"app": r.target.Name},
		map[string]string{"AUTHORIZED_SPIFFE_IDS": id, "SERVER_ADDRESS": fmt.Sprintf(":%d", r.target.Port)})
	if err != nil {
		return "", err
	}
	pod["spec"].(kube.Object)["readinessGates"] = []kube.Object{{"conditionType": neverReady}}
	if err := r.create(ctx, pod); err != nil {
		return "", err
	}
	if err := r.containerRunning(ctx, r.target.Namespace, name, r.target.Name); err != nil {
		return "", err
	}
	var running struct {
		Status struct {
			PodIP string `json:"podIP"`
		} `json:"status"`
	}
	if err := r.kube.Get(ctx, kube.PodPath(r.target.Namespace, name), nil, &running); err != nil {
		return "", err
	}
	return net.JoinHostPort(running.Status.PodIP, strconv.Itoa(r.target.Port)), r.serving(ctx)
}

// startQuietClient starts verify's own client, which calls the server at address until the quiet period is over.
func (r *run) startQuietClient(
	ctx context.Context, template kube.Object, peer config.Workload, id, address string, begun time.Time,
) error {
	duration := max(time.Until(begun.Add(r.options.Quiet)), time.Second).Round(time.Second)
	pod, err := r.copyOf(template, r.quietPod(quietClient), map[string]string{"app": peer.Name},
		map[string]string{"AUTHORIZED_SPIFFE_IDS": id, "SERVER_ADDRESS": address},
		peer.Executable, "-rate", requestRate, "-new-connections", "-duration", duration.String())
	if err != nil {
		return err
	}
	pod["metadata"].(kube.Object)["namespace"] = peer.Namespace
	// The rules identify the container by its name.
	pod["spec"].(kube.Object)["containers"].([]any)[0].(kube.Object)["name"] = peer.Name
	if err := r.create(ctx, pod); err != nil {
		return err
	}
	return r.containerRunning(ctx, peer.Namespace, r.quietPod(quietClient), peer.Name)
}

// peer returns the first workload that may connect to the target and runs the project's own client.
func (r *run) peer() (config.Workload, bool) {
	for _, w := range r.options.Settings.Workloads {
		for _, p := range r.target.Peers {
			if w.Name == p && runsOwn(w, ownClient) {
				return w, true
			}
		}
	}
	return config.Workload{}, false
}

func (r *run) quietPod(name string) string { return Namespace + "-" + r.id + "-" + name }

// serving waits until the log of verify's server says that it serves, which needs an identity.
func (r *run) serving(ctx context.Context) error {
	deadline := time.Now().Add(r.options.StartTimeout)
	for {
		log, err := r.log(ctx, r.target.Namespace, r.quietPod(quietServer), r.target.Name)
		if err == nil && bytes.Contains(log, []byte(`"msg":"serving"`)) {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("verify's own server got no identity from SPIRE within %s", r.options.StartTimeout), err)
		}
		if !pause(ctx, r.options.Poll) {
			return context.Cause(ctx)
		}
	}
}

func (r *run) log(ctx context.Context, namespace, pod, container string) ([]byte, error) {
	return r.kube.GetRaw(ctx, kube.PodPath(namespace, pod)+"/log", url.Values{"container": {container}})
}

// endTraffic waits for the rotation that is due and reads the results from the logs of the client and the server.
func (r *run) endTraffic(ctx context.Context, q *Quiet, begun time.Time) {
	peer, _ := r.peer()
	var rotations int
	for latest := begun.Add(max(r.options.Quiet, 2*rotatedAfter) + r.options.Quiet/2); ; {
		log, err := r.log(ctx, r.target.Namespace, r.quietPod(quietServer), r.target.Name)
		rotations = bytes.Count(log, []byte(`"msg":"identity rotated"`))
		if err == nil && rotations > 0 || time.Now().After(latest) || !pause(ctx, r.options.Poll) {
			break
		}
	}
	if rotations > 0 {
		q.Done = append(q.Done, fmt.Sprintf("%d rotations of a short-lived SVID", rotations))
	} else {
		q.Problems = append(q.Problems, "no SVID was rotated")
	}
	var (
		log     []byte
		err     error
		summary trafficSummary
		found   bool
	)
	for latest := time.Now().Add(r.options.AlertTimeout); ; { // the last requests and the summary take time
		log, err = r.log(ctx, peer.Namespace, r.quietPod(quietClient), peer.Name)
		if summary, found = clientSummary(log); found || time.Now().After(latest) || !pause(ctx, r.options.Poll) {
			break
		}
	}
	switch {
	case err != nil:
		q.Problems = append(q.Problems, "the client's log: "+err.Error())
	case !found:
		q.Problems = append(q.Problems, "the client did not finish: "+lastLine(log))
	case summary.Outcomes[answered] == 0:
		q.Problems = append(q.Problems,
			fmt.Sprintf("none of the client's %d requests was answered: %s", *summary.Requests, summary.FirstError))
	default:
		q.Done = append(q.Done,
			fmt.Sprintf("%d of %d requests over mutual TLS answered", summary.Outcomes[answered], *summary.Requests))
	}
}

// trafficSummary is the part of the client's summary that is used here.
type trafficSummary struct {
	Requests   *int           `json:"requests"`
	Outcomes   map[string]int `json:"outcomes"`
	FirstError string         `json:"first_error"`
}

// clientSummary finds the client's summary, which is a line of JSON, in its log.
func clientSummary(log []byte) (trafficSummary, bool) {
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 1<<20)
	var s trafficSummary
	for lines.Scan() {
		var line trafficSummary
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Requests != nil {
			s = line
		}
	}
	return s, s.Requests != nil
}

func lastLine(log []byte) string {
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return lines[len(lines)-1]
}

func (r *run) rolloutAgent(ctx context.Context, q *Quiet) {
	collection := "/apis/apps/v1/namespaces/" + r.options.Settings.SPIRE.Namespace + "/daemonsets"
	var list struct {
		Items []struct {
			Metadata kube.Metadata `json:"metadata"`
		} `json:"items"`
	}
	err := r.kube.Get(ctx, collection, url.Values{"labelSelector": {"app.kubernetes.io/name=agent"}}, &list)
	if err != nil || len(list.Items) == 0 {
		problem := "no DaemonSet of the SPIRE agent in namespace " + r.options.Settings.SPIRE.Namespace
		if err != nil {
			problem += ": " + err.Error()
		}
		q.Problems = append(q.Problems, problem)
		return
	}
	m := list.Items[0].Metadata
	r.rollout(ctx, q, "DaemonSet "+m.Namespace+"/"+m.Name, collection+"/"+m.Name)
}

// rollout restarts a Deployment or DaemonSet as kubectl rollout restart does, and waits until it is complete.
func (r *run) rollout(ctx context.Context, q *Quiet, name, path string) {
	r.note("rolling out %s", name)
	err := r.kube.Patch(ctx, path, kube.Object{"spec": kube.Object{"template": kube.Object{"metadata": kube.Object{
		"annotations": map[string]string{"kubectl.kubernetes.io/restartedAt": time.Now().UTC().Format(time.RFC3339)},
	}}}})
	if err == nil {
		err = r.rolledOut(ctx, path)
	}
	if err != nil {
		q.Problems = append(q.Problems, fmt.Sprintf("rollout of %s: %v", name, err))
		return
	}
	q.Done = append(q.Done, "rollout of "+name)
}

func (r *run) rolledOut(ctx context.Context, path string) error {
	deadline := time.Now().Add(r.options.StartTimeout)
	for {
		var o struct {
			Metadata kube.Metadata `json:"metadata"`
			Spec     struct {
				Replicas *int `json:"replicas"`
			} `json:"spec"`
			Status struct {
				ObservedGeneration int64 `json:"observedGeneration"`
				// A Deployment's.
				Replicas          int `json:"replicas"`
				UpdatedReplicas   int `json:"updatedReplicas"`
				AvailableReplicas int `json:"availableReplicas"`
				// A DaemonSet's.
				Desired   int `json:"desiredNumberScheduled"`
				Updated   int `json:"updatedNumberScheduled"`
				Available int `json:"numberAvailable"`
			} `json:"status"`
		}
		if err := r.kube.Get(ctx, path, nil, &o); err != nil {
			return err
		}
		s := o.Status
		done := s.ObservedGeneration >= o.Metadata.Generation
		if o.Spec.Replicas != nil {
			want := *o.Spec.Replicas
			done = done && s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want
		} else {
			done = done && s.Updated == s.Desired && s.Available == s.Desired
		}
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not complete after %s", r.options.StartTimeout)
		}
		if !pause(ctx, r.options.Poll) {
			return context.Cause(ctx)
		}
	}
}
