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

// Quiet is the period of normal operation after the attacks, in which no rule of ours may fire.
type Quiet struct {
	// Seconds that it lasted.
	Seconds float64 `json:"seconds"`
	// Done lists what was done in it: rollouts, traffic, rotations.
	Done []string `json:"done"`
	// Skipped lists what could not be done on this stack, and why.
	Skipped []string `json:"skipped,omitempty"`
	// FalsePositives are the alerts of our rules, as Falco wrote them.
	FalsePositives []json.RawMessage `json:"falsePositives"`
	// OtherAlerts counts those of rules that are not ours.
	OtherAlerts int `json:"otherAlerts"`
	// Problems are what kept normal operation from being normal.
	Problems []string `json:"problems,omitempty"`
}

// OK tells whether the period was quiet and what belongs to it was done.
func (q *Quiet) OK() bool { return len(q.FalsePositives) == 0 && len(q.Problems) == 0 }

const (
	quietServer = "quiet-server"
	quietClient = "quiet-client"
	// shortLife of the identity of verify's own server and client: SPIRE renews an SVID after half of it.
	shortLife    = "1m"
	rotatedAfter = 30 * time.Second
	requestRate  = "10"
	// answered is the client's name for a request that was answered well.
	answered = "ok"
)

// quiet lets the stack work normally for the time of the options and collects the alerts of our rules.
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
		q.Skipped = append(q.Skipped, "rollout of the SPIRE agent: it is not this stack's")
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	pause(ctx, r.options.Quiet-time.Since(begun))
	if traffic {
		r.endTraffic(ctx, q, begun)
	}
	// Alerts of the last moments are still under way.
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

// startTraffic brings up a server and a client of verify's own, with an identity of their own that is short-lived, so that
// mutual TLS and the rotation of SVIDs are seen in minutes without changing the workload's identity. False when this stack
// does not allow for it.
func (r *run) startTraffic(ctx context.Context, q *Quiet, begun time.Time) (bool, error) {
	peer, ok := r.peer()
	if !runsOwn(r.target, ownServer) || !ok {
		q.Skipped = append(q.Skipped, "mTLS traffic and rotation: workload "+r.target.Name+" is not the project's own server with a peer")
		return false, nil
	}
	s := r.options.Settings
	id := "spiffe://" + s.SPIRE.TrustDomain + "/" + Namespace + "/" + r.id
	spec := kube.Object{
		"spiffeIDTemplate":          id,
		"podSelector":               kube.Object{"matchLabels": map[string]string{Label: r.id}},
		"workloadSelectorTemplates": []string{"k8s:pod-label:" + Label + ":" + r.id},
		"ttl":                       shortLife,
	}
	if s.SPIRE.ClassName != "" {
		spec["className"] = s.SPIRE.ClassName
	}
	err := r.kube.Create(ctx, identitiesPath, kube.Object{
		"apiVersion": "spire.spiffe.io/v1alpha1", "kind": "ClusterSPIFFEID",
		"metadata": r.metadata("", Namespace+"-"+r.id, nil), "spec": spec,
	})
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
	// Not the workload's account, or the workload's own identity would be given too.
	template["serviceAccountName"], template["serviceAccount"] = "default", "default"
	pod, err := r.copyOf(template, r.quietPod(quietServer), map[string]string{"app": r.target.Name},
		map[string]string{"AUTHORIZED_SPIFFE_IDS": id, "SERVER_ADDRESS": fmt.Sprintf(":%d", r.target.Port)})
	if err != nil {
		return false, err
	}
	pod["spec"].(kube.Object)["readinessGates"] = []kube.Object{{"conditionType": neverReady}}
	if err := r.create(ctx, pod); err != nil {
		return false, err
	}
	if err := r.containerRunning(ctx, r.target.Namespace, r.quietPod(quietServer), r.target.Name); err != nil {
		return false, err
	}
	var running struct {
		Status struct {
			PodIP string `json:"podIP"`
		} `json:"status"`
	}
	if err := r.kube.Get(ctx, kube.PodPath(r.target.Namespace, r.quietPod(quietServer)), nil, &running); err != nil {
		return false, err
	}
	if err := r.serving(ctx); err != nil {
		return false, err
	}
	address := net.JoinHostPort(running.Status.PodIP, strconv.Itoa(r.target.Port))
	pod, err = r.copyOf(template, r.quietPod(quietClient), map[string]string{"app": peer.Name},
		map[string]string{"AUTHORIZED_SPIFFE_IDS": id, "SERVER_ADDRESS": address},
		peer.Executable, "-rate", requestRate, "-new-connections", "-duration", max(time.Until(begun.Add(r.options.Quiet)), time.Second).Round(time.Second).String())
	if err != nil {
		return false, err
	}
	pod["metadata"].(kube.Object)["namespace"] = peer.Namespace
	// The rules know the container by its name.
	pod["spec"].(kube.Object)["containers"].([]any)[0].(kube.Object)["name"] = peer.Name
	if err := r.create(ctx, pod); err != nil {
		return false, err
	}
	return true, r.containerRunning(ctx, peer.Namespace, r.quietPod(quietClient), peer.Name)
}

// peer is the first workload that may connect to the target and runs the project's own client.
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

// serving waits until verify's server has its identity: it says so.
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

// endTraffic reads what the client and the server say, after the rotation that is due has had its time.
func (r *run) endTraffic(ctx context.Context, q *Quiet, begun time.Time) {
	peer, _ := r.peer()
	rotations := 0
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
	for latest := time.Now().Add(r.options.AlertTimeout); ; { // its last requests and its summary take their time
		log, err = r.log(ctx, peer.Namespace, r.quietPod(quietClient), peer.Name)
		if summary, found = clientSummary(log); found || time.Now().After(latest) || !pause(ctx, r.options.Poll) {
			break
		}
	}
	switch {
	case err != nil:
		q.Problems = append(q.Problems, "the client's log: "+err.Error())
	case !found:
		q.Problems = append(q.Problems, "the client did not come to its end: "+lastLine(log))
	case summary.Outcomes[answered] == 0:
		q.Problems = append(q.Problems, fmt.Sprintf("none of the client's %d requests was answered: %s", *summary.Requests, summary.FirstError))
	default:
		q.Done = append(q.Done, fmt.Sprintf("%d of %d requests over mutual TLS answered", summary.Outcomes[answered], *summary.Requests))
	}
}

// trafficSummary is what the client says of its load.
type trafficSummary struct {
	Requests   *int           `json:"requests"`
	Outcomes   map[string]int `json:"outcomes"`
	FirstError string         `json:"first_error"`
}

// clientSummary finds the client's summary, a line of JSON of its own, in its log.
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
		q.Problems = append(q.Problems, strings.TrimSpace(fmt.Sprintf("no DaemonSet of the SPIRE agent in namespace %s %v", r.options.Settings.SPIRE.Namespace, errorText(err))))
		return
	}
	m := list.Items[0].Metadata
	r.rollout(ctx, q, "DaemonSet "+m.Namespace+"/"+m.Name, collection+"/"+m.Name)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// rollout restarts a Deployment or DaemonSet as kubectl rollout restart does and waits for its end.
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
			done = done && s.UpdatedReplicas == *o.Spec.Replicas && s.Replicas == *o.Spec.Replicas && s.AvailableReplicas == *o.Spec.Replicas
		} else {
			done = done && s.Updated == s.Desired && s.Available == s.Desired
		}
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not at its end after %s", r.options.StartTimeout)
		}
		if !pause(ctx, r.options.Poll) {
			return context.Cause(ctx)
		}
	}
}
