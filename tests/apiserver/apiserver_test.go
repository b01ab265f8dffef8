// Package apiserver_test applies every Kubernetes object that the program makes to a real kube-apiserver: what it
// refuses, an up would be refused.
package apiserver_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"spire-falco/config"
	"spire-falco/tests/apiserver/controlplane"
	"spire-falco/tests/recorder"
)

const root = "../.."

var server *controlplane.Server

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if strings.Contains(","+os.Getenv("SPIRE_FALCO_SKIP")+",", ",apiserver,") {
			fmt.Fprintln(os.Stderr, "SPIRE_FALCO_SKIP=apiserver: NOT CHECKED that an API server accepts what the program makes")
			return 0
		}
		var err error
		if server, err = controlplane.Start(context.Background(), root, os.Stderr); err == nil {
			defer server.Stop()
			err = installCRD(context.Background())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "cannot prepare the API server:", err)
			return 1
		}
		return m.Run()
	}())
}

// installCRD installs the CRD of ClusterSPIFFEID: the real one of CHARTS_DIR, or the part of it that this stack uses.
func installCRD(ctx context.Context) error {
	file := "testdata/clusterspiffeid.yaml"
	if dir := os.Getenv("CHARTS_DIR"); dir != "" {
		found, err := filepath.Glob(filepath.Join(dir, "spire-crds-*", "spire-crds", "templates", "spire.spiffe.io_clusterspiffeids.yaml"))
		if err != nil || len(found) == 0 {
			return fmt.Errorf("CHARTS_DIR=%s has no spire-crds-VERSION/spire-crds: %w", dir, err)
		}
		file = found[0]
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the CRD: %w", err)
	}
	text = regexp.MustCompile(`(?m)^\s*\{\{.*\}\}\s*$`).ReplaceAll(text, nil) // the chart's annotations
	var crd map[string]any
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return fmt.Errorf("read the CRD in %s: %w", file, err)
	}
	r, err := server.Apply(ctx, "tests", crd)
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return fmt.Errorf("install the CRD: %w", err)
	}
	path := "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterspiffeids.spire.spiffe.io"
	for range 200 {
		r, err := server.Do(ctx, http.MethodGet, path, "", nil)
		if err == nil && conditions(r.Body)["Established"] == "True" {
			// The server says so a moment before it serves the new kind.
			if p, err := server.Do(ctx, http.MethodGet, "/apis/spire.spiffe.io/v1alpha1", "", nil); err == nil && p.Status == http.StatusOK {
				return nil
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the CRD of %s was not established in 10 s", file)
}

func conditions(object map[string]any) map[string]string {
	out := map[string]string{}
	status, _ := object["status"].(map[string]any)
	list, _ := status["conditions"].([]any)
	for _, c := range list {
		if m, ok := c.(map[string]any); ok {
			out[fmt.Sprint(m["type"])] = fmt.Sprint(m["status"])
		}
	}
	return out
}

// settings that between them make every kind of object that the program has.
var settings = []struct {
	name            string
	values, secrets map[string]string
	objects         int // at least
}{
	{"defaults", nil, nil, 11},
	{"Falco_with_every_output", map[string]string{
		"enableFalco": "true", "falco.dashboard": "true", "falco.metrics": "true", "falco.fileOutput": "/var/log/alerts.json",
		"falcosidekick.elasticsearch.hostPort": "http://elasticsearch:9200", "falcosidekick.elasticsearch.username": "falco",
		"falcosidekick.ui.enabled": "true",
	}, map[string]string{
		"falcosidekick.slack.webhookUrl": "https://hooks.slack.com/services/T/B/X", "falcosidekick.elasticsearch.password": "p",
		"falcosidekick.ui.password": "p",
	}, 15},
	{"existing_cluster_with_workloads_of_the_user", map[string]string{
		"enableFalco": "true", "cluster.mode": "existing", "cluster.kubeconfig": "/k", "cluster.context": "c",
		"image.repository": "registry.example.org/mtls", "spire.mode": "existing", "spire.className": "theirs", "falco.namespace": "watch",
		"workloads": `[{"name":"api","namespace":"shop","port":9443,"replicas":3,"peers":["web"],"health":["/mtls-server","health"],
			"egress":[{"cidr":"10.0.0.0/8","port":5432,"protocol":"tcp"},{"cidr":"2001:db8::/32","port":53,"protocol":"udp"}],"env":{"A":"b"}},
			{"name":"web","namespace":"front","image":"registry.example.org/web@sha256:` + strings.Repeat("ab", 32) + `","executable":"/web","args":["-v"],"socketPath":"/run/spire/agent.sock"}]`,
	}, nil, 13},
}

// objects are what the program makes with these settings, in the order in which it makes them.
func objects(t *testing.T, values, secrets map[string]string) []map[string]any {
	t.Helper()
	run, err := recorder.Program(recorder.Settings{Values: values, Secrets: secrets})
	require.NoError(t, err)
	var out []map[string]any
	for _, r := range run.Resources {
		if object, ok := r.Object(); ok {
			out = append(out, object)
		}
	}
	return out
}

func field(object map[string]any, path ...string) any {
	var v any = object
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

func title(object map[string]any) string {
	return fmt.Sprintf("%v/%v", object["kind"], field(object, "metadata", "name"))
}

func TestTheAPIServerAccepts(t *testing.T) {
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			all := objects(t, s.values, s.secrets)
			require.GreaterOrEqual(t, len(all), s.objects)
			for _, object := range all {
				t.Run(title(object), func(t *testing.T) {
					first, err := server.Apply(t.Context(), "stack", object)
					require.NoError(t, err)
					require.NoError(t, first.Err())
					assert.Empty(t, first.Warnings, "nothing deprecated, nothing that Pod Security would refuse")
					second, err := server.Apply(t.Context(), "stack", object)
					require.NoError(t, err)
					require.NoError(t, second.Err())
					assert.Equal(t, version(first), version(second), "a second apply changes nothing")
				})
			}
			t.Run("pods", func(t *testing.T) { podsAreAdmitted(t, all) })
		})
	}
}

func version(r controlplane.Response) any {
	return []any{field(r.Body, "metadata", "resourceVersion"), field(r.Body, "metadata", "generation"), field(r.Body, "metadata", "uid")}
}

// podsAreAdmitted makes a pod of every Deployment's template: Pod Security refuses pods, not Deployments, and without
// controllers nobody else makes one.
func podsAreAdmitted(t *testing.T, all []map[string]any) {
	t.Helper()
	found := 0
	for _, object := range all {
		if object["kind"] != "Deployment" {
			continue
		}
		found++
		r := createPod(t, podOf(object), "")
		require.NoError(t, r.Err(), title(object))
		assert.Empty(t, r.Warnings, title(object))
	}
	assert.Equal(t, 2, found, "workloads")
}

// podOf is a pod of the Deployment's template.
func podOf(deployment map[string]any) map[string]any {
	template := field(deployment, "spec", "template").(map[string]any)
	metadata := maps.Clone(template["metadata"].(map[string]any))
	metadata["generateName"] = fmt.Sprint(field(deployment, "metadata", "name"), "-")
	metadata["namespace"] = field(deployment, "metadata", "namespace")
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
}

// createPod creates the pod as a dry run: admission is the same, and nothing is left.
func createPod(t *testing.T, pod map[string]any, namespace string) controlplane.Response {
	t.Helper()
	if namespace == "" {
		namespace = fmt.Sprint(field(pod, "metadata", "namespace"))
	}
	path, err := server.Path(t.Context(), "v1", "Pod", namespace, "")
	require.NoError(t, err)
	r, err := server.Do(t.Context(), http.MethodPost, path+"?dryRun=All&fieldValidation=Strict", "application/json", pod)
	require.NoError(t, err)
	return r
}

// What follows breaks objects on purpose: a server that took everything would prove nothing.
func TestTheAPIServerRefuses(t *testing.T) {
	values := map[string]string{"enableFalco": "true"}
	all := objects(t, values, nil)
	for _, object := range all {
		r, err := server.Apply(t.Context(), "stack", object)
		require.NoError(t, err)
		require.NoError(t, r.Err())
	}
	find := func(t *testing.T, name string) map[string]any {
		t.Helper()
		for _, object := range objects(t, values, nil) { // fresh ones, to be broken
			if strings.HasPrefix(title(object), name) {
				return object
			}
		}
		require.Fail(t, "nothing is "+name)
		return nil
	}
	apply := func(t *testing.T, object map[string]any) error {
		t.Helper()
		r, err := server.Apply(t.Context(), "stack", object)
		require.NoError(t, err)
		return r.Err()
	}
	container := func(deployment map[string]any) map[string]any {
		return field(deployment, "spec", "template", "spec", "containers").([]any)[0].(map[string]any)
	}
	t.Run("a_field_that_does_not_exist", func(t *testing.T) {
		d := find(t, "Deployment/mtls-server")
		container(d)["securityContexts"] = map[string]any{}
		require.ErrorContains(t, apply(t, d), "securityContexts")
	})
	t.Run("an_identity_with_a_misspelt_field", func(t *testing.T) {
		id := find(t, "ClusterSPIFFEID/")
		field(id, "spec").(map[string]any)["spiffeIdTemplate"] = "spiffe://example.org/x"
		require.ErrorContains(t, apply(t, id), "spiffeIdTemplate")
	})
	t.Run("a_mount_of_a_volume_of_another_name", func(t *testing.T) {
		d := find(t, "Deployment/mtls-server")
		container(d)["volumeMounts"].([]any)[0].(map[string]any)["name"] = "spiffe"
		require.ErrorContains(t, apply(t, d), `Not found: "spiffe"`)
	})
	t.Run("other_rules_in_the_immutable_ConfigMap", func(t *testing.T) {
		cm := find(t, "ConfigMap/falco-rules-")
		field(cm, "data").(map[string]any)["spire-mtls-rules.yaml"] = "[]"
		require.ErrorContains(t, apply(t, cm), "immutable")
	})
	t.Run("a_privileged_pod_of_a_workload", func(t *testing.T) {
		pod := podOf(find(t, "Deployment/mtls-server"))
		c := field(pod, "spec", "containers").([]any)[0].(map[string]any)
		security := c["securityContext"].(map[string]any)
		security["privileged"], security["allowPrivilegeEscalation"] = true, true
		require.ErrorContains(t, createPod(t, pod, "").Err(), `violates PodSecurity "restricted:latest"`)
	})
	t.Run("a_workload's_pod_that_may_be_root", func(t *testing.T) {
		pod := podOf(find(t, "Deployment/mtls-server"))
		field(pod, "spec", "securityContext").(map[string]any)["runAsNonRoot"] = false
		require.ErrorContains(t, createPod(t, pod, "").Err(), "runAsNonRoot")
	})
	t.Run("but_not_a_privileged_pod_where_Falco_runs", func(t *testing.T) {
		pod := podOf(find(t, "Deployment/mtls-server"))
		spec := field(pod, "spec").(map[string]any)
		delete(spec, "serviceAccountName")
		field(pod, "metadata").(map[string]any)["namespace"] = "falco"
		spec["containers"].([]any)[0].(map[string]any)["securityContext"] = map[string]any{"privileged": true}
		account := map[string]any{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "default", "namespace": "falco"}}
		require.NoError(t, apply(t, account)) // a controller would make it
		require.NoError(t, createPod(t, pod, "falco").Err())
	})
}

func TestTheServerIsTheRealOne(t *testing.T) {
	r, err := server.Do(t.Context(), http.MethodGet, "/version", "", nil)
	require.NoError(t, err)
	assert.Equal(t, server.Version, r.Body["gitVersion"])
	defaults, err := config.Load(config.Source{Stack: "defaults"})
	require.NoError(t, err)
	assert.Equal(t, defaults.Cluster.Minikube.KubernetesVersion, server.Version, "what a new user gets is what is tested")
}
