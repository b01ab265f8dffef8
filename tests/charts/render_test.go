package charts

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"spire-falco/tests/recorder"
)

// directory has the charts as NAME-VERSION/NAME, each as its repository publishes it, with its subcharts in it.
var directory = os.Getenv("CHARTS_DIR")

func TestMain(m *testing.M) {
	if directory == "" {
		fmt.Fprintln(os.Stderr, "CHARTS_DIR is not set, so NOT CHECKED: that the real charts make of our values what we mean. Lost: a key that a chart",
			"does not know or has renamed; rules that are not mounted or listed twice; falcoctl pulling rules; sockets of agent and CSI driver that differ;",
			"an identity for everyone; a secret that is not read by name. tests/charts/README.md tells how to get the charts.")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// objects of one rendered release.
type objects struct {
	t *testing.T
	// all of them, hooks too, as plain values.
	all []map[string]any
	// text is everything that was rendered.
	text string
}

// render runs the program and renders the chart of one of its releases as Helm would install it.
func render(t *testing.T, release string, settings recorder.Settings) (objects, recorder.Resource, *recorder.Run) {
	t.Helper()
	run, err := recorder.Program(settings)
	require.NoError(t, err)
	r, ok := run.Find(release)
	require.True(t, ok, "the program registers no %s", release)
	return install(t, r), r, run
}

func install(t *testing.T, r recorder.Resource) objects {
	t.Helper()
	name, version := fmt.Sprint(r.Get("chart")), fmt.Sprint(r.Get("version"))
	dir := filepath.Join(directory, name+"-"+version, name)
	chart, err := loader.Load(dir)
	require.NoError(t, err, "CHARTS_DIR must have %s-%s/%s", name, version, name)
	require.Equal(t, version, chart.Metadata.Version, "the chart in %s", dir)

	values, _ := r.Get("values").(map[string]any)
	files, _ := r.Get("valueYamlFiles").([]any)
	for _, file := range files {
		var more map[string]any
		require.NoError(t, sigsyaml.Unmarshal([]byte(file.(string)), &more))
		values = chartutil.CoalesceTables(more, values)
	}
	client := action.NewInstall(&action.Configuration{Log: func(string, ...any) {}})
	client.DryRun, client.ClientOnly, client.IncludeCRDs = true, true, true
	client.ReleaseName, client.Namespace = fmt.Sprint(r.Get("name")), fmt.Sprint(r.Get("namespace"))
	client.KubeVersion = &chartutil.KubeVersion{Version: "v1.36.3", Major: "1", Minor: "36"}
	client.APIVersions = chartutil.VersionSet{"monitoring.coreos.com/v1"}
	release, err := client.Run(chart, values)
	require.NoError(t, err, "render %s %s", name, version)
	text := release.Manifest
	for _, hook := range release.Hooks {
		text += "\n---\n" + hook.Manifest
	}
	o := objects{t: t, text: text}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for {
		var object map[string]any
		err := decoder.Decode(&object)
		if err == io.EOF { //nolint:errorlint // the decoder returns it bare
			break
		}
		require.NoError(t, err)
		if len(object) > 0 {
			o.all = append(o.all, object)
		}
	}
	require.NotEmpty(t, o.all)
	return o
}

func metadata(object map[string]any, key string) string {
	m, _ := object["metadata"].(map[string]any)
	s, _ := m[key].(string)
	return s
}

// kinds lists the objects of that kind.
func (o objects) kinds(kind string) []map[string]any {
	var out []map[string]any
	for _, object := range o.all {
		if object["kind"] == kind {
			out = append(out, object)
		}
	}
	return out
}

// get converts the one object of that kind and name, strictly: a field that the type does not have is an error.
func get[T any](o objects, kind, name string) T {
	o.t.Helper()
	var out T
	var names []string
	for _, object := range o.kinds(kind) {
		names = append(names, metadata(object, "name"))
		if metadata(object, "name") == name {
			require.NoError(o.t, runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object, &out, true))
			return out
		}
	}
	require.Failf(o.t, "missing", "the chart renders no %s %s, but %v", kind, name, names)
	return out
}

// specs lists the pods of everything that makes pods, by kind and name.
func (o objects) specs() map[string]corev1.PodSpec {
	o.t.Helper()
	out := map[string]corev1.PodSpec{}
	for _, object := range o.all {
		name := fmt.Sprint(object["kind"], "/", metadata(object, "name"))
		spec, _ := object["spec"].(map[string]any)
		claims, _ := spec["volumeClaimTemplates"].([]any)
		switch object["kind"] {
		case "Pod":
		case "Deployment", "DaemonSet", "StatefulSet", "Job":
			template, _ := spec["template"].(map[string]any)
			spec, _ = template["spec"].(map[string]any)
		default:
			continue
		}
		var pod corev1.PodSpec
		require.NoError(o.t, runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &pod), name)
		for _, claim := range claims { // a StatefulSet's controller makes volumes of them
			pod.Volumes = append(pod.Volumes, corev1.Volume{Name: metadata(claim.(map[string]any), "name")})
		}
		out[name] = pod
	}
	return out
}

func containers(pod corev1.PodSpec) []corev1.Container {
	return append(append([]corev1.Container(nil), pod.InitContainers...), pod.Containers...)
}

func daemonSet(o objects, name string) appsv1.DaemonSet {
	return get[appsv1.DaemonSet](o, "DaemonSet", name)
}

func merge(maps ...map[string]string) map[string]string {
	out := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}
