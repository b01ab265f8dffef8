package verify_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"spire-falco/mtls"
	"spire-falco/rules"
)

type object = map[string]any

// standin is a fake cluster: the parts of an API server that verify uses, pods that start at once, commands that end at
// once, and a Falco pod to whose log the recorded alert of each attack is written. Its faults are those that verify
// must find.
type standin struct {
	*httptest.Server
	t        *testing.T
	rules    *rules.Rendered
	recorded map[string]string // scenario to alert, with RUN and PORT as placeholders

	mu       sync.Mutex
	objects  map[string]object // by path
	falcoLog []string
	changed  chan struct{}
	counts   map[[2]string]int
	labels   []string // of everything that was ever created
	patched  []string
	run      string

	// Faults.
	mute        map[string]bool // rules that do not fire
	undelivered map[string]bool // rules whose alerts are lost on the way to Falcosidekick
	restart     bool            // Falco restarts during the run
	drops       bool
	noisy       string // a rule that fires in the quiet period
	otherRules  bool   // Falco runs with rules of another hash
	noTool      bool   // the image has no tools
	holdExec    chan struct{}
}

const (
	falcoPods     = "/api/v1/namespaces/falco/pods"
	daemonSet     = "/apis/apps/v1/namespaces/falco/daemonsets/falco"
	identities    = "/apis/spire.spiffe.io/v1alpha1/clusterspiffeids"
	verifyLabel   = "spire-falco/verify"
	verifySpace   = "/api/v1/namespaces/spire-falco-verify"
	agentPath     = "/apis/apps/v1/namespaces/spire/daemonsets"
	serverDeploy  = "/apis/apps/v1/namespaces/mtls/deployments/mtls-server"
	clientDeploy  = "/apis/apps/v1/namespaces/mtls/deployments/mtls-client"
	sidekickProxy = falcoPods + "/falcosidekick-1:2801/proxy/metrics"
)

func newStandin(t *testing.T, rendered *rules.Rendered, recorded map[string]string) *standin {
	t.Helper()
	s := &standin{
		t: t, rules: rendered, recorded: recorded,
		objects: map[string]object{}, changed: make(chan struct{}), counts: map[[2]string]int{},
		mute: map[string]bool{}, undelivered: map[string]bool{},
	}
	s.falcoLog = []string{"Falco version: 0.40.0 (x86_64)"}
	ready := []object{{"type": "Ready", "status": "True"}}
	s.objects[falcoPods+"/falco-1"] = object{
		"metadata": object{
			"name": "falco-1", "namespace": "falco", "uid": "falco-1", "labels": object{"app.kubernetes.io/name": "falco"},
			"annotations": object{"spire-falco/rules-hash": rendered.Hash},
		},
		"spec":   object{"nodeName": "node-1"},
		"status": object{"conditions": ready, "containerStatuses": []object{{"name": "falco", "restartCount": 0, "state": object{"running": object{}}}}},
	}
	s.objects[falcoPods+"/falcosidekick-1"] = object{
		"metadata": object{"name": "falcosidekick-1", "namespace": "falco", "uid": "k", "labels": object{
			"app.kubernetes.io/name": "falcosidekick", "app.kubernetes.io/component": "core", "app.kubernetes.io/instance": "falcosidekick",
		}},
		"status": object{"conditions": ready},
	}
	s.objects["/api/v1/namespaces/falco/configmaps/rules"] = object{
		"metadata": object{"name": "rules", "annotations": object{"spire-falco/rules-hash": rendered.Hash}}, "data": rendered.Data(),
	}
	rolled := object{"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
	template := object{"spec": object{
		"serviceAccountName": "mtls-server",
		"containers": []object{{
			"name": "mtls-server", "image": "docker.io/library/mtls-server:1", "command": []string{"/mtls-server"},
			"env":            []object{{"name": "SERVER_ADDRESS", "value": ":8443"}, {"name": "SPIFFE_ENDPOINT_SOCKET", "value": "unix:///spiffe-workload-api/api.sock"}},
			"readinessProbe": object{"exec": object{"command": []string{"/mtls-server", "health"}}},
		}},
	}}
	s.objects[serverDeploy] = object{"metadata": object{"generation": 1}, "spec": object{"replicas": 1, "template": template}, "status": rolled}
	s.objects[clientDeploy] = object{"metadata": object{"generation": 1}, "spec": object{"replicas": 1, "template": template}, "status": rolled}
	sets := object{"observedGeneration": 1, "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1, "numberReady": 1}
	s.objects[agentPath+"/spire-agent"] = object{"metadata": object{"name": "spire-agent", "namespace": "spire", "labels": object{"app.kubernetes.io/name": "agent"}}, "spec": object{}, "status": sets}
	s.objects[daemonSet] = object{"metadata": object{"name": "falco"}, "spec": object{}, "status": sets}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// leftovers returns the paths of everything that has verify's label.
func (s *standin) leftovers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for path, o := range s.objects {
		if labelsOf(o)[verifyLabel] != nil {
			out = append(out, path)
		}
	}
	return out
}

// everMade returns verify's label of everything that was created, empty for objects without it.
func (s *standin) everMade() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.labels)
}

func (s *standin) deploymentPatches() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.patched)
}

// put adds an object.
func (s *standin) put(path string, o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[path] = o
}

func (s *standin) serve(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case strings.HasSuffix(path, "/exec"):
		s.exec(w, r)
	case path == falcoPods+"/falco-1/log":
		s.follow(w, r)
	case strings.HasSuffix(path, "/log"):
		summary, _ := json.Marshal(mtls.Summary{Requests: 70, Outcomes: map[mtls.Outcome]int{mtls.OutcomeOK: 69, mtls.OutcomeRefused: 1}})
		_, _ = io.WriteString(w, `{"msg":"serving"}`+"\n"+`{"msg":"identity rotated"}`+"\n"+string(summary)+"\n")
	case path == sidekickProxy:
		s.metrics(w)
	case r.Method == http.MethodPost:
		s.create(w, r)
	case r.Method == http.MethodPatch:
		s.patch(w, r)
	case r.Method == http.MethodDelete:
		s.delete(w, path)
	default:
		s.get(w, r)
	}
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, code int, reason string) {
	answer(w, code, object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": reason})
}

func labelsOf(o object) object {
	m, _ := o["metadata"].(object)
	l, _ := m["labels"].(object)
	return l
}

func (s *standin) get(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := r.URL.Path
	if o, ok := s.objects[path]; ok {
		answer(w, http.StatusOK, s.faulty(path, o))
		return
	}
	if slices.Contains([]string{"pods", "namespaces", "configmaps", "daemonsets", "clusterspiffeids"}, path[strings.LastIndex(path, "/")+1:]) {
		items := []object{}
		for _, at := range slices.Sorted(maps.Keys(s.objects)) {
			o := s.objects[at]
			in := strings.HasPrefix(at, path+"/") && !strings.Contains(at[len(path)+1:], "/")
			if path == "/api/v1/pods" {
				in = strings.Contains(at, "/pods/")
			}
			if in && selects(r.URL.Query().Get("labelSelector"), labelsOf(o)) {
				items = append(items, s.faulty(at, o))
			}
		}
		answer(w, http.StatusOK, object{"items": items})
		return
	}
	refuse(w, http.StatusNotFound, "NotFound")
}

// faulty returns the object as changed by the faults of this cluster.
func (s *standin) faulty(path string, o object) object {
	if path != falcoPods+"/falco-1" || s.run == "" && !s.otherRules {
		return o
	}
	copied := maps.Clone(o)
	if s.otherRules {
		m := maps.Clone(o["metadata"].(object))
		m["annotations"] = object{"spire-falco/rules-hash": strings.Repeat("0", 64)}
		copied["metadata"] = m
	}
	if s.restart {
		copied["status"] = object{"containerStatuses": []object{{"name": "falco", "restartCount": 1}}}
	}
	return copied
}

func selects(selector string, labels object) bool {
	if selector == "" {
		return true
	}
	for term := range strings.SplitSeq(selector, ",") {
		key, value, exact := strings.Cut(term, "=")
		got, there := labels[key]
		if !there || exact && got != value {
			return false
		}
	}
	return true
}

func (s *standin) create(w http.ResponseWriter, r *http.Request) {
	var o object
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest")
		return
	}
	meta := o["metadata"].(object)
	name := meta["name"].(string)
	path := r.URL.Path + "/" + name
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.objects[path]; taken {
		refuse(w, http.StatusConflict, "AlreadyExists")
		return
	}
	meta["uid"] = path
	label, _ := labelsOf(o)[verifyLabel].(string)
	s.labels, s.run = append(s.labels, label), label
	s.objects[path] = o
	if strings.HasSuffix(r.URL.Path, "/pods") {
		spec := o["spec"].(object)
		container := spec["containers"].([]any)[0].(object)
		o["status"] = object{
			"podIP": "127.0.0.1",
			"containerStatuses": []object{{
				"name": container["name"], "state": object{"running": object{"startedAt": time.Now().UTC().Format(time.RFC3339)}},
			}},
		}
		switch {
		case strings.HasSuffix(name, "-server") && !strings.Contains(name, "quiet"):
			s.tell("port-server", name, serverPort(container))
		case strings.HasSuffix(name, "quiet-server"):
			if s.noisy != "" {
				s.say(object{
					"rule": s.noisy, "priority": "Warning", "output": "noise", "hostname": "node-1", "time": now(),
					"output_fields": object{"k8s.ns.name": "mtls", "k8s.pod.name": "mtls-server-1", "proc.cmdline": "mtls-server"},
				})
			}
			if s.drops {
				s.say(object{
					"rule": "Falco internal: syscall event drop", "priority": "Debug", "output": "drop", "hostname": "node-1", "time": now(),
					"output_fields": object{"n_drops": "42607"},
				})
			}
		}
	}
	answer(w, http.StatusCreated, o)
}

func serverPort(container object) string {
	for _, v := range container["env"].([]any) {
		if m := v.(object); m["name"] == "SERVER_ADDRESS" {
			return strings.TrimPrefix(m["value"].(string), ":")
		}
	}
	return ""
}

func (s *standin) patch(w http.ResponseWriter, r *http.Request) {
	var patch object
	if err := json.NewDecoder(r.Body).Decode(&patch); err != nil {
		refuse(w, http.StatusBadRequest, "BadRequest")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path := strings.TrimSuffix(r.URL.Path, "/ephemeralcontainers")
	o, ok := s.objects[path]
	if !ok {
		refuse(w, http.StatusNotFound, "NotFound")
		return
	}
	if path != r.URL.Path {
		container := patch["spec"].(object)["ephemeralContainers"].([]any)[0].(object)
		o["status"].(object)["ephemeralContainerStatuses"] = []object{{"name": container["name"], "state": object{"running": object{}}}}
		s.tell("shell-debug", path[strings.LastIndex(path, "/")+1:], "")
	} else if !strings.HasPrefix(path, verifySpace) {
		body, _ := json.Marshal(patch)
		s.patched = append(s.patched, path+" "+string(body))
	}
	answer(w, http.StatusOK, o)
}

func (s *standin) delete(w http.ResponseWriter, path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, path)
	if path == verifySpace {
		for at := range s.objects {
			if strings.HasPrefix(at, verifySpace+"/") {
				delete(s.objects, at)
			}
		}
	}
	answer(w, http.StatusOK, object{"kind": "Status", "status": "Success"})
}

// exec implements the protocol of kubectl exec: standard output, standard error and the status are channels of one
// WebSocket, and each message begins with the channel's number.
func (s *standin) exec(w http.ResponseWriter, r *http.Request) {
	upgrader := websocket.Upgrader{Subprotocols: []string{"v5.channel.k8s.io"}}
	socket, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer socket.Close() //nolint:errcheck // the end of it
	s.mu.Lock()
	hold, noTool := s.holdExec, s.noTool
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-time.After(30 * time.Second):
		}
	}
	status := object{"status": "Success", "metadata": object{}}
	if noTool {
		status = object{
			"status": "Failure", "reason": "NonZeroExitCode", "message": "no such tool", "metadata": object{},
			"details": object{"causes": []object{{"reason": "ExitCode", "message": "127"}}},
		}
	} else {
		pod := strings.Split(r.URL.Path, "/")[6]
		command := strings.Join(r.URL.Query()["command"], " ")
		s.mu.Lock()
		if marker := regexp.MustCompile("verify-" + s.run + "-([a-z-]+)").FindStringSubmatch(command); marker != nil {
			s.tell(marker[1], pod, "")
		}
		if port, ok := strings.CutPrefix(command, "timeout 1 nc -l -p "); ok {
			s.tell("port-tool", pod, port)
		}
		s.mu.Unlock()
	}
	body, _ := json.Marshal(status)
	_ = socket.WriteMessage(websocket.BinaryMessage, append([]byte{2}, "said\n"...))
	_ = socket.WriteMessage(websocket.BinaryMessage, append([]byte{3}, body...))
	_ = socket.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""))
	_, _, _ = socket.ReadMessage()
}

// tell writes the recorded alert of a scenario to Falco's log, with this run's pod, marker and port. The lock is held.
func (s *standin) tell(scenario, pod, port string) {
	text, ok := s.recorded[scenario]
	if !ok {
		s.t.Errorf("no alert is recorded for scenario %s", scenario)
		return
	}
	text = strings.NewReplacer("RUN", s.run, "PORT", port, "POD", pod).Replace(text)
	var alert object
	if err := json.Unmarshal([]byte(text), &alert); err != nil {
		s.t.Errorf("the alert of scenario %s: %v", scenario, err)
		return
	}
	alert["time"] = now()
	s.say(alert)
}

func now() string { return time.Now().UTC().Format(time.RFC3339Nano) }

// say makes Falco write an alert and post it to Falcosidekick. The lock is held.
func (s *standin) say(alert object) {
	rule, _ := alert["rule"].(string)
	if s.mute[rule] {
		return
	}
	line, _ := json.Marshal(alert)
	s.falcoLog = append(s.falcoLog, string(line))
	if !s.undelivered[rule] {
		pod, _ := alert["output_fields"].(object)["k8s.pod.name"].(string)
		s.counts[[2]string{rule, pod}]++
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *standin) metrics(w io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintln(w, "# TYPE falcosecurity_falcosidekick_falco_events_total counter\ngo_goroutines 7")
	for key, n := range s.counts {
		_, _ = fmt.Fprintf(w, "falcosecurity_falcosidekick_falco_events_total{hostname=\"node-1\",k8s_ns_name=\"\",k8s_pod_name=%s,rule=%s,source=\"syscall\"} %d\n",
			strconv.Quote(key[1]), strconv.Quote(key[0]), n)
	}
}

func (s *standin) follow(w http.ResponseWriter, r *http.Request) {
	flusher, _ := w.(http.Flusher)
	next := 0
	for {
		s.mu.Lock()
		log, changed := s.falcoLog, s.changed
		s.mu.Unlock()
		for ; next < len(log); next++ {
			_, _ = fmt.Fprintf(w, "%s %s\n", time.Now().UTC().Format(time.RFC3339Nano), log[next])
		}
		flusher.Flush()
		if r.URL.Query().Get("follow") != "true" {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		}
	}
}

func readRecorded(t *testing.T, content []byte) map[string]string {
	t.Helper()
	var recorded map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(content, &recorded))
	out := map[string]string{}
	for id, alert := range recorded {
		out[id] = string(alert)
	}
	return out
}
