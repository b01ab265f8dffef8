// Package policy_test proves that the program keeps every policy of policy/policies, whatever its settings are, and
// that breaking the program on purpose is found.
package policy_test

import (
	"strings"
	"testing"

	appsv1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/apps/v1"
	corev1 "github.com/pulumi/pulumi-kubernetes/sdk/v4/go/kubernetes/core/v1"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"spire-falco/charts"
	"spire-falco/config"
	"spire-falco/policy/policies"
	"spire-falco/tests/recorder"
)

func falco(more ...string) map[string]string {
	m := map[string]string{"enableFalco": "true"}
	for i := 0; i < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return m
}

var outputs = map[string]string{
	config.SlackWebhookKey: "https://hooks.slack.com/services/T/B/X", config.ElasticsearchPasswordKey: "es-password", config.UIPasswordKey: "ui-password",
}

func TestTheProgramKeepsEveryPolicy(t *testing.T) {
	t.Parallel()
	cases := map[string]recorder.Settings{
		"defaults": {},
		"falco":    {Values: falco()},
		"every output": {Values: falco("falcosidekick.elasticsearch.hostPort", "http://es:9200", "falcosidekick.elasticsearch.username", "u",
			"falcosidekick.ui.enabled", "true", "falco.fileOutput", "/var/log/falco/x", "falco.syslogOutput", "true"), Secrets: outputs},
		"existing cluster": {Values: falco("cluster.mode", "existing", "cluster.kubeconfig", "/k", "cluster.context", "c",
			"image.repository", "registry.example.org/mtls", "spire.mode", "existing")},
		"more workloads": {Values: falco("workloads", `[{"name":"a","namespace":"x","port":9443,"peers":["b"],"egress":[{"cidr":"10.0.0.0/8","port":5432,"protocol":"tcp"}]},
			{"name":"b","namespace":"y","image":"registry.example.org/b:1.0.0"}]`)},
		"values of the user's": {Values: falco("falco.chartVersion", "9.1.0",
			config.FalcoValuesKey, `{"tolerations":[{"operator":"Exists"}],"falco":{"append_output":[{"extra_output":"%evt.cpu"}]},"driver":{"kind":"modern_ebpf"},"podLabels":{"a":"b"}}`,
			config.FalcosidekickValuesKey, `{"replicaCount":2,"serviceMonitor":{"enabled":true},"config":{"customfields":"env:prod"}}`,
			config.SPIREValuesKey, `{"global":{"spire":{"jwtIssuer":"https://oidc.example.org"}},"spire-server":{"persistence":{"storageClass":"fast"},"replicaCount":2}}`,
			config.SPIRECRDsValuesKey, `{"annotations":{"example.org/owner":"platform"}}`)},
		"least privileged": {Values: falco("falco.leastPrivileged", "true")},
	}
	for _, v := range charts.Supported(charts.FalcoName) {
		cases["falco "+v] = recorder.Settings{Values: falco("falco.chartVersion", v)}
	}
	for name, s := range cases {
		for _, preview := range []bool{false, true} {
			s.Preview = preview
			t.Run(strings.ReplaceAll(name, " ", "_")+map[bool]string{true: "/preview", false: "/up"}[preview], func(t *testing.T) {
				t.Parallel()
				run, err := recorder.Program(s)
				require.NoError(t, err)
				require.NotEmpty(t, run.Resources)
				for _, v := range policies.Evaluate(run.ForPolicy()) {
					t.Error(v)
				}
			})
		}
	}
}

// change makes a transformation that changes one resource of the program.
func change(name string, how func(args *pulumi.ResourceTransformationArgs)) pulumi.ResourceTransformation {
	return func(args *pulumi.ResourceTransformationArgs) *pulumi.ResourceTransformationResult {
		if args.Name == name {
			how(args)
		}
		return &pulumi.ResourceTransformationResult{Props: args.Props, Opts: args.Opts}
	}
}

func values(args *pulumi.ResourceTransformationArgs, path ...string) pulumi.Map {
	m := args.Props.(pulumi.Map)["values"].(pulumi.Map)
	for _, key := range path {
		m = m[key].(pulumi.Map)
	}
	return m
}

// TestBreakingTheProgramIsFound breaks the program itself, as an edit of it would.
func TestBreakingTheProgramIsFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, policy, message string
		transform             pulumi.ResourceTransformation
	}{
		{
			name: "a missing DependsOn", policy: "parts-start-in-order", message: "falco-release: it needs falco-rules",
			transform: change("falco-release", func(args *pulumi.ResourceTransformationArgs) {
				args.Opts = nil // of one option alone the SDK cannot be asked to let go
			}),
		},
		{
			name: "a secret in values", policy: "no-secret-outside-secrets", message: "values.config.slack.webhookurl",
			transform: change("falcosidekick-release", func(args *pulumi.ResourceTransformationArgs) {
				values(args, "config")["slack"] = pulumi.Map{"webhookurl": pulumi.ToSecret(pulumi.String("https://hooks.slack.com/services/T/B/X"))}
			}),
		},
		{
			name: "a wrong volume name", policy: "falco-has-rules-and-an-output", message: `the volume "rules"`,
			transform: change("falco-release", func(args *pulumi.ResourceTransformationArgs) {
				values(args, "mounts")["volumeMounts"].(pulumi.Array)[0].(pulumi.Map)["name"] = pulumi.String("rules")
			}),
		},
		{
			name: "a mutable ConfigMap", policy: "rules-configmap-is-immutable", message: "immutable is false",
			transform: change("falco-rules", func(args *pulumi.ResourceTransformationArgs) {
				configMap(args).Immutable = pulumi.Bool(false)
			}),
		},
		{
			name: "other rules under an old name", policy: "rules-configmap-is-immutable", message: "by the hash of its data",
			transform: change("falco-rules", func(args *pulumi.ResourceTransformationArgs) {
				configMap(args).Data.(pulumi.StringMap)["spire-mtls-settings.yaml"] = pulumi.String("[]\n")
			}),
		},
		{
			name: "a privileged workload", policy: "privileged-pods-only-for-falco-and-spire", message: `container mtls-server is privileged in namespace "mtls"`,
			transform: change("mtls-server-deployment", func(args *pulumi.ResourceTransformationArgs) {
				deployment := args.Props.(*appsv1.DeploymentArgs)
				spec := deployment.Spec.(appsv1.DeploymentSpecArgs)
				template := spec.Template.(corev1.PodTemplateSpecArgs)
				pod := template.Spec.(corev1.PodSpecArgs)
				container := pod.Containers.(corev1.ContainerArray)[0].(corev1.ContainerArgs)
				container.SecurityContext = corev1.SecurityContextArgs{Privileged: pulumi.Bool(true)}
				pod.Containers = corev1.ContainerArray{container}
				template.Spec = pod
				spec.Template = template
				deployment.Spec = spec
			}),
		},
		{
			name: "falcoctl left at the chart's default", policy: "nothing-unpinned-is-pulled-at-run-time", message: "falcoctl.artifact.install",
			transform: change("falco-release", func(args *pulumi.ResourceTransformationArgs) { delete(values(args), "falcoctl") }),
		},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			run, err := recorder.Program(recorder.Settings{Values: falco(), Transform: c.transform})
			require.NoError(t, err)
			var found []string
			for _, v := range policies.Evaluate(run.ForPolicy()) {
				found = append(found, v.String())
			}
			require.NotEmpty(t, found)
			text := strings.Join(found, "\n")
			assert.Contains(t, text, c.policy+": ")
			assert.Contains(t, text, c.message)
			assert.NotContains(t, text, "hooks.slack.com")
		})
	}
}

func configMap(args *pulumi.ResourceTransformationArgs) *corev1.ConfigMapArgs {
	return args.Props.(*corev1.ConfigMapArgs)
}

// TestAPolicySeesTheValuesOfTheUser has values that the settings take, since the charts have the keys, and a policy
// refuses.
func TestAPolicySeesTheValuesOfTheUser(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ key, value, policy, want string }{
		"a library before Falco's own": {
			config.FalcoValuesKey, `{"extra":{"env":[{"name":"LD_PRELOAD","value":"/tmp/a.so"}]}}`, "rules-stay-on", "values.extra.env sets",
		},
		"an image that moves": {
			config.SPIREValuesKey, `{"spire-server":{"controllerManager":{"image":{"tag":"latest"}}}}`, "nothing-unpinned-is-pulled-at-run-time", "tag is \"latest\"",
		},
		"a path of the node": {
			config.SPIREValuesKey, `{"spire-server":{"extraVolumes":[{"name":"a","hostPath":{"path":"/etc"}}]}}`, "releases-have-plain-values", "is a path of the node",
		},
		"a privileged container": {
			config.FalcosidekickValuesKey, `{"securityContext":{"privileged":true}}`, "releases-have-plain-values", "privileged is true",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run, err := recorder.Program(recorder.Settings{Values: falco(c.key, c.value), Preview: true})
			require.NoError(t, err)
			found := ""
			for _, v := range policies.Evaluate(run.ForPolicy()) {
				if v.Policy == c.policy {
					found += v.Message
				}
			}
			assert.Contains(t, found, c.want)
		})
	}
}
