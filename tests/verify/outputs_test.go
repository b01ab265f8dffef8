package verify_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/config"
	"spire-falco/values"
)

// received is what one receiver got.
type received struct {
	mu       sync.Mutex
	requests []request
}

type request struct {
	method, path, authorization, contentType string
	body                                     []byte
}

func (r *received) serve(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	r.mu.Lock()
	r.requests = append(r.requests, request{req.Method, req.URL.Path, req.Header.Get("Authorization"), req.Header.Get("Content-Type"), body})
	r.mu.Unlock()
	if strings.HasPrefix(req.URL.Path, "/falco-") { // as Elasticsearch answers to an indexed document
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"_index":"falco","_id":"1","_version":1,"result":"created","_shards":{"total":2,"successful":1,"failed":0}}`)
		return
	}
	_, _ = io.WriteString(w, "ok") // as Slack does
}

func (r *received) list() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]request(nil), r.requests...)
}

// environment converts config values as the chart falcosidekick does: into a Secret whose keys are their paths in
// capitals.
func environment(config map[string]any, prefix string) []string {
	var out []string
	for key, value := range config {
		name := prefix + strings.ToUpper(key)
		switch v := value.(type) {
		case map[string]any:
			out = append(out, environment(v, name+"_")...)
		default:
			out = append(out, fmt.Sprintf("%s=%v", name, v))
		}
	}
	return out
}

// The real Falcosidekick, configured by the stack's values and secrets, sends to fake Slack and Elasticsearch
// receivers. FALCOSIDEKICK is the path of its binary.
func TestFalcosidekickSendsToSlackAndElasticsearch(t *testing.T) {
	t.Parallel()
	binary := os.Getenv("FALCOSIDEKICK")
	if binary == "" {
		t.Skip("FALCOSIDEKICK is not set: it names the binary of Falcosidekick, which is no module of the proxy")
	}
	slack, elastic := &received{}, &received{}
	slackServer, elasticServer := httptest.NewServer(http.HandlerFunc(slack.serve)), httptest.NewServer(http.HandlerFunc(elastic.serve))
	defer slackServer.Close()
	defer elasticServer.Close()

	s, err := config.Load(config.Source{
		Stack: "test",
		Values: map[string]string{
			"enableFalco": "true", "falcosidekick.slack.minimumPriority": "warning",
			"falcosidekick.elasticsearch.hostPort": elasticServer.URL, "falcosidekick.elasticsearch.minimumPriority": "critical",
			"falcosidekick.elasticsearch.username": "elastic",
		},
		Secrets: map[string]bool{config.SlackWebhookKey: true, config.ElasticsearchPasswordKey: true},
	})
	require.NoError(t, err)
	v := values.Falcosidekick(s.Sidekick, values.FalcosidekickInputs{Secret: "outputs", SecretHash: "x"})
	env := environment(v["config"].(map[string]any), "")
	// What the stack puts into its own Secret.
	env = append(env, "SLACK_WEBHOOKURL="+slackServer.URL+"/services/T0/B0/X", "ELASTICSEARCH_PASSWORD=secret")

	port := freePort(t)
	var log bytes.Buffer
	command := exec.Command(binary)
	command.Env = append(env, "LISTENADDRESS=127.0.0.1", "LISTENPORT="+port)
	command.Stdout, command.Stderr = &log, &log
	require.NoError(t, command.Start())
	defer func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		t.Log(log.String())
	}()
	url := "http://127.0.0.1:" + port
	require.Eventually(t, func() bool {
		answer, err := http.Get(url + "/ping")
		if err != nil {
			return false
		}
		return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	}, 10*time.Second, 50*time.Millisecond)

	recorded := readRecorded(t, recordedAlerts)
	send := func(scenario, priority string) {
		t.Helper()
		var alert object
		require.NoError(t, json.Unmarshal([]byte(recorded[scenario]), &alert))
		alert["priority"] = priority
		body, err := json.Marshal(alert)
		require.NoError(t, err)
		answer, err := http.Post(url, "application/json", bytes.NewReader(body))
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusOK, answer.StatusCode)
	}
	send("token", "Notice") // for neither
	send("shell-exec", "Warning")
	send("sensitive-file", "Critical")

	require.Eventually(t, func() bool { return len(slack.list()) == 2 && len(elastic.list()) == 1 }, 10*time.Second, 20*time.Millisecond)
	time.Sleep(200 * time.Millisecond)
	require.Len(t, slack.list(), 2, "the notice is below Slack's minimum")
	require.Len(t, elastic.list(), 1, "the warning is below Elasticsearch's minimum")

	texts := ""
	for _, r := range slack.list() {
		assert.Equal(t, http.MethodPost, r.method)
		assert.Equal(t, "/services/T0/B0/X", r.path)
		assert.Contains(t, r.contentType, "application/json")
		var message struct {
			Username    string `json:"username"`
			Attachments []struct {
				Color  string `json:"color"`
				Fields []struct {
					Title string `json:"title"`
					Value string `json:"value"`
				} `json:"fields"`
			} `json:"attachments"`
		}
		require.NoError(t, json.Unmarshal(r.body, &message))
		require.Len(t, message.Attachments, 1)
		assert.Regexp(t, `^#[0-9a-f]{6}$`, message.Attachments[0].Color)
		fields := map[string]string{}
		for _, f := range message.Attachments[0].Fields {
			fields[f.Title] = f.Value
		}
		assert.NotEmpty(t, fields["rule"])
		texts += fields["rule"] + "=" + fields["priority"] + ";"
	}
	assert.Contains(t, texts, "Unexpected Shell Spawned in mTLS Container=Warning")
	assert.Contains(t, texts, "Sensitive File Read by mTLS Process=Critical")

	document := elastic.list()[0]
	assert.Equal(t, http.MethodPost, document.method)
	assert.Regexp(t, `^/falco-\d{4}\.\d\d\.\d\d/_doc$`, document.path)
	assert.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("elastic:secret")), document.authorization)
	var indexed struct {
		Rule     string `json:"rule"`
		Priority string `json:"priority"`
		Time     string `json:"time"`
		Fields   object `json:"output_fields"`
	}
	require.NoError(t, json.Unmarshal(document.body, &indexed))
	assert.Equal(t, "Sensitive File Read by mTLS Process", indexed.Rule)
	assert.Equal(t, "Critical", indexed.Priority)
	assert.NotEmpty(t, indexed.Time)
	assert.NotEmpty(t, indexed.Fields)
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close() //nolint:errcheck // only asked for its port
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	return port
}
