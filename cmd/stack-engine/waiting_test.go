package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"

	"spire-falco/config"
	"spire-falco/detect/kube"
	"spire-falco/report/reporttest"
)

func TestUpTellsOnceWhyAPodDoesNotBecomeReady(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	pod := func(name, created, more string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"uid":%q,"creationTimestamp":%q%s}}`, name, name, created, more)
	}
	old, young := now.Add(-90*time.Second).Format(time.RFC3339), now.Add(-30*time.Second).Format(time.RFC3339)
	pods := map[string]string{
		"/api/v1/namespaces/falco/pods": pod("stuck", old, "") + "," + pod("young", young, "") + "," + pod("quiet", old, "") + "," + pod("ending", old, `,"deletionTimestamp":"x"`),
		"/api/v1/namespaces/spire/pods": `{"metadata":{"name":"ready","creationTimestamp":"` + old + `"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`,
		"/api/v1/namespaces/mtls/pods":  `{"metadata":{"name":"done","creationTimestamp":"` + old + `"},"status":{"phase":"Succeeded"}}`,
	}
	asked := map[string]bool{}
	reason := "FailedMount"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if items, ok := pods[r.URL.Path]; ok {
			fmt.Fprintf(w, `{"items":[%s]}`, items)
			return
		}
		selector := r.URL.Query().Get("fieldSelector")
		asked[r.URL.Path+" "+selector] = true
		items := ""
		quoted, _ := json.Marshal(reason)
		if r.URL.Path == "/api/v1/namespaces/falco/events" && selector == "type=Warning,involvedObject.kind=Pod,involvedObject.name=stuck" {
			items = `{"reason":"Unhealthy","message":"earlier","lastTimestamp":"2026-01-02T03:03:00Z","eventTime":null},` +
				`{"reason":` + string(quoted) + `,"message":"/dev/log is not a socket file","firstTimestamp":"2026-01-02T03:02:00Z","lastTimestamp":"2026-01-02T03:04:00Z"}`
		}
		fmt.Fprintf(w, `{"items":[%s]}`, items)
	}))
	t.Cleanup(server.Close)
	client, err := kube.NewForConfig(&rest.Config{Host: server.URL})
	require.NoError(t, err)

	s := &config.Settings{EnableFalco: true, Workloads: []config.Workload{{Namespace: "mtls"}, {Namespace: "mtls"}}}
	s.SPIRE.Install, s.SPIRE.Namespace, s.Falco.Namespace = true, "spire", "falco"
	var out bytes.Buffer
	troubles := newPodTroubles(s, &out)
	troubles.now = func() time.Time { return now }
	for range 2 {
		require.NoError(t, troubles.look(t.Context(), client))
	}
	assert.Equal(t, "\npod falco/stuck is not ready after 90 s: FailedMount: /dev/log is not a socket file\n", out.String())
	assert.Len(t, asked, 2, "only pods that are late are asked about: %v", asked)

	out.Reset()
	reason = "BackOff"
	require.NoError(t, troubles.look(t.Context(), client))
	assert.Contains(t, out.String(), "BackOff", "another trouble of the same pod is told too")

	out.Reset()
	reason = reporttest.Hostile
	require.NoError(t, troubles.look(t.Context(), client))
	reporttest.Harmless(t, out.String())
	assert.Contains(t, out.String(), reporttest.Shown)
	assert.Equal(t, 2, strings.Count(out.String(), "\n"), "an event cannot add a line")
}
