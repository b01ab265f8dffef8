package charts

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"spire-falco/charts"
	"spire-falco/charts/contract"
	"spire-falco/components"
	"spire-falco/config"
	"spire-falco/tests/apiserver/controlplane"
	"spire-falco/tests/recorder"
	"spire-falco/values"
)

var falcoOn = map[string]string{"enableFalco": "true"}

func falco(more ...map[string]string) recorder.Settings {
	return recorder.Settings{Values: merge(append([]map[string]string{falcoOn}, more...)...)}
}

// falcoConfig is the part of falco.yaml that matters here.
type falcoConfig struct {
	RulesFiles  []string `json:"rules_files"`
	RulesFile   any      `json:"rules_file"`
	ConfigFiles []string `json:"config_files"`
	Engine      struct {
		Kind       string `json:"kind"`
		ModernEBPF struct {
			Buffer int `json:"buf_size_preset"`
		} `json:"modern_ebpf"`
	} `json:"engine"`
	JSONOutput bool   `json:"json_output"`
	Priority   string `json:"priority"`
	Matching   string `json:"rule_matching"`
	HTTP       struct {
		Enabled bool   `json:"enabled"`
		URL     string `json:"url"`
	} `json:"http_output"`
	File struct {
		Enabled  bool   `json:"enabled"`
		Filename string `json:"filename"`
	} `json:"file_output"`
	Syslog struct {
		Enabled bool `json:"enabled"`
	} `json:"syslog_output"`
	Webserver struct {
		Enabled bool `json:"enabled"`
		Metrics bool `json:"prometheus_metrics_enabled"`
	} `json:"webserver"`
	LoadPlugins []string `json:"load_plugins"`
}

func falcoYAML(t *testing.T, o objects) falcoConfig {
	t.Helper()
	text := get[corev1.ConfigMap](o, "ConfigMap", config.FalcoRelease).Data["falco.yaml"]
	require.NotEmpty(t, text)
	var c falcoConfig
	require.NoError(t, sigsyaml.Unmarshal([]byte(text), &c))
	return c
}

func TestFalco(t *testing.T) {
	t.Parallel()
	for _, version := range charts.Supported(charts.FalcoName) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			chart := map[string]string{"falco.chartVersion": version}
			o, release, run := render(t, "falco-release", falco(chart))
			cfg := falcoYAML(t, o)
			ds := daemonSet(o, config.FalcoRelease)
			pod := ds.Spec.Template.Spec
			rulesMap, ok := run.Find("falco-rules")
			require.True(t, ok)

			t.Run("keeps_the_contract", func(t *testing.T) {
				assert.NoError(t, contract.Check(o.all, wanted(t, release, run, resolve(t, version))))
			})
			t.Run("has_one_rules_key_with_our_files_first", func(t *testing.T) {
				assert.Nil(t, cfg.RulesFile)
				want := []string{}
				for _, f := range release.Get("values", "falco", "rules_files").([]any) {
					want = append(want, f.(string))
				}
				require.NotEmpty(t, want)
				assert.Equal(t, want, cfg.RulesFiles)
				assert.Empty(t, cfg.ConfigFiles, "nothing else configures Falco")
				assert.Equal(t, "first", cfg.Matching)
				for file := range rulesMap.Get("data").(map[string]any) {
					assert.Contains(t, cfg.RulesFiles, "/etc/falco/rules.d"+"/"+file)
				}
			})
			t.Run("mounts_our_rules_and_nothing_over_them", func(t *testing.T) {
				assertVolumes(t, pod)
				require.Len(t, pod.Containers, 1)
				var found []string
				for _, m := range pod.Containers[0].VolumeMounts {
					switch {
					case m.MountPath == "/etc/falco/rules.d":
						found = append(found, m.Name)
						assert.True(t, m.ReadOnly)
					case path.Clean(m.MountPath) == "/etc/falco", strings.HasPrefix(m.MountPath, "/etc/falco/rules.d"+"/"):
						assert.Fail(t, "a mount hides the rules", m.MountPath)
					}
				}
				require.Len(t, found, 1)
				for _, v := range pod.Volumes {
					if v.Name == found[0] {
						require.NotNil(t, v.ConfigMap)
						assert.Equal(t, rulesMap.Get("metadata", "name"), v.ConfigMap.Name)
					}
				}
				assert.Equal(t, release.Get("namespace"), rulesMap.Get("metadata", "namespace"))
				assert.NotEmpty(t, ds.Spec.Template.Annotations[values.RulesHashAnnotation], "other rules roll the pods")
				for _, cm := range o.kinds("ConfigMap") {
					assert.Equal(t, config.FalcoRelease, metadata(cm, "name"), "the chart brings no rules of its own")
				}
			})
			t.Run("uses_the_modern_eBPF_driver_without_a_loader", func(t *testing.T) {
				assert.Equal(t, "modern_ebpf", cfg.Engine.Kind)
				assert.Equal(t, 4, cfg.Engine.ModernEBPF.Buffer)
			})
			t.Run("runs_no_falcoctl_and_no_other_container", func(t *testing.T) {
				for name, spec := range o.specs() {
					assert.Equal(t, "DaemonSet/"+config.FalcoRelease, name)
					for _, c := range containers(spec) {
						assert.Contains(t, []string{"falco", "check-node"}, c.Name)
						assert.Equal(t, values.FalcoImage(resolve(t, version)), c.Image, c.Name)
						assert.NotEqual(t, corev1.PullAlways, c.ImagePullPolicy)
					}
				}
			})
			t.Run("sends_JSON_alerts_to_Falcosidekick", func(t *testing.T) {
				assert.True(t, cfg.HTTP.Enabled)
				assert.True(t, cfg.JSONOutput)
				sidekick, ok := run.Find("falcosidekick-release")
				require.True(t, ok)
				service := get[corev1.Service](install(t, sidekick), "Service", config.FalcosidekickRelease)
				assert.Equal(t, fmt.Sprintf("http://%s:%d", service.Name, service.Spec.Ports[0].Port), cfg.HTTP.URL)
				assert.Equal(t, release.Get("namespace"), service.Namespace)
				assert.False(t, cfg.File.Enabled)
				assert.False(t, cfg.Syslog.Enabled)
			})
			t.Run("sees_containers_through_containerd_alone", func(t *testing.T) {
				var sockets []string
				for _, v := range pod.Volumes {
					if v.HostPath != nil && strings.HasPrefix(v.HostPath.Path, "/run") || v.HostPath != nil && strings.HasPrefix(v.HostPath.Path, "/var/run") {
						sockets = append(sockets, v.HostPath.Path)
						for _, m := range pod.Containers[0].VolumeMounts {
							if m.Name == v.Name {
								assert.Equal(t, "/host"+v.HostPath.Path, path.Clean(m.MountPath))
							}
						}
					}
				}
				require.Len(t, sockets, 1)
				assert.True(t, strings.HasPrefix("/run/containerd/containerd.sock", sockets[0]), sockets[0])
				if resolve(t, version).Falco.ContainerPlugin != "" {
					assert.Equal(t, []string{"container"}, cfg.LoadPlugins)
				} else {
					assert.Empty(t, cfg.LoadPlugins)
				}
			})
			t.Run("has_the_resources_and_the_rollout_of_the_settings", func(t *testing.T) {
				r := pod.Containers[0].Resources
				assert.Equal(t, "500m 512Mi 100m 256Mi", fmt.Sprintf("%s %s %s %s", r.Limits.Cpu(), r.Limits.Memory(), r.Requests.Cpu(), r.Requests.Memory()))
				require.NotNil(t, ds.Spec.UpdateStrategy.RollingUpdate)
				assert.Equal(t, "0", ds.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.String(), "Helm waits for every pod")
				assert.Equal(t, "1", ds.Spec.UpdateStrategy.RollingUpdate.MaxSurge.String())
				assert.Equal(t, int32(3), pod.Containers[0].ReadinessProbe.InitialDelaySeconds)
				require.NotNil(t, pod.Containers[0].SecurityContext.Privileged)
				assert.True(t, *pod.Containers[0].SecurityContext.Privileged)
			})
			t.Run("follows_each_setting", func(t *testing.T) { falcoSettings(t, chart) })
			t.Run("renders_the_same_twice", func(t *testing.T) { assert.Equal(t, o.text, install(t, release).text) })
		})
	}
}

// wanted is the contract with what the program gave to the release and to Falcosidekick.
func wanted(t *testing.T, release recorder.Resource, run *recorder.Run, chart charts.Falco) contract.Want {
	t.Helper()
	rulesMap, ok := run.Find("falco-rules")
	require.True(t, ok)
	want := contract.Want{
		Release:        config.FalcoRelease,
		Image:          values.FalcoImage(chart),
		InitContainers: []string{"check-node"},
		RulesConfigMap: fmt.Sprint(rulesMap.Get("metadata", "name")),
		AlertURL:       components.AlertURL,
	}
	for _, f := range release.Get("values", "falco", "rules_files").([]any) {
		want.RulesFiles = append(want.RulesFiles, fmt.Sprint(f))
	}
	if chart.Falco.ContainerPlugin != "" {
		want.Plugins = []string{"container"}
	}
	return want
}

// TestOtherFalcoCharts holds charts to the contract that this project never ran: what a preview does with them.
func TestOtherFalcoCharts(t *testing.T) {
	t.Parallel()
	for version, broken := range map[string]string{
		"4.20.1": "", "6.2.0": "", "7.0.0": "", "9.0.0": "",
		// Its template has the volumes inside a condition of falcoctl, as 4.22.0 has.
		"5.0.0": "the container falco mounts spire-falco-rules, which is no volume of the pod",
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(filepath.Join(directory, charts.FalcoName+"-"+version)); err != nil {
				t.Skipf("CHARTS_DIR has no falco %s: not checked by contract", version)
			}
			chart := resolve(t, version)
			require.True(t, chart.ByContract)
			o, release, run := render(t, "falco-release", falco(map[string]string{"falco.chartVersion": version}))
			err := contract.Check(o.all, wanted(t, release, run, chart))
			if broken == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, broken)
		})
	}
}

func falcoSettings(t *testing.T, chart map[string]string) {
	t.Helper()
	with := func(t *testing.T, more map[string]string) (objects, falcoConfig, corev1.PodSpec) {
		t.Helper()
		o, _, _ := render(t, "falco-release", falco(chart, more))
		return o, falcoYAML(t, o), daemonSet(o, config.FalcoRelease).Spec.Template.Spec
	}
	t.Run("outputs", func(t *testing.T) {
		_, cfg, pod := with(t, map[string]string{"falco.fileOutput": "/var/log/falco/a.log", "falco.syslogOutput": "true", "falco.priority": "warning"})
		assert.True(t, cfg.File.Enabled)
		assert.Equal(t, "/var/log/falco/a.log", cfg.File.Filename)
		assert.True(t, cfg.Syslog.Enabled)
		mounts := map[string]string{}
		for _, m := range pod.Containers[0].VolumeMounts {
			for _, v := range pod.Volumes {
				if v.Name == m.Name && v.HostPath != nil {
					mounts[m.MountPath] = v.HostPath.Path
				}
			}
		}
		assert.Equal(t, "/var/log/falco", mounts["/var/log/falco"], "the file's directory is the node's")
		assert.Equal(t, "/dev/log", mounts["/dev/log"])
		assert.Equal(t, "warning", cfg.Priority)
	})
	t.Run("metrics", func(t *testing.T) {
		o, cfg, _ := with(t, map[string]string{"falco.metrics": "true", "falco.serviceMonitor": "true"})
		assert.True(t, cfg.Webserver.Metrics)
		assert.Len(t, o.kinds("ServiceMonitor"), 1)
		assert.Len(t, o.kinds("Service"), 1)
		o, _, _ = with(t, map[string]string{"falco.metrics": "false"})
		assert.Empty(t, o.kinds("ServiceMonitor"))
		assert.Empty(t, o.kinds("Service"))
	})
	t.Run("privileges", func(t *testing.T) {
		_, _, pod := with(t, map[string]string{"falco.leastPrivileged": "true", "falco.bufferPreset": "6"})
		security := pod.Containers[0].SecurityContext
		assert.True(t, security.Privileged == nil || !*security.Privileged)
		require.NotNil(t, security.Capabilities)
		var added []string
		for _, c := range security.Capabilities.Add {
			added = append(added, string(c))
		}
		sort.Strings(added)
		assert.Equal(t, []string{"BPF", "PERFMON", "SYS_PTRACE", "SYS_RESOURCE"}, added)
	})
	t.Run("limits", func(t *testing.T) {
		_, _, pod := with(t, map[string]string{"falco.limits.cpu": "2", "falco.limits.memory": "1Gi"})
		assert.Equal(t, "2 1Gi", pod.Containers[0].Resources.Limits.Cpu().String()+" "+pod.Containers[0].Resources.Limits.Memory().String())
	})
}

func resolve(t *testing.T, version string) charts.Falco {
	t.Helper()
	f, err := charts.ResolveFalco(version)
	require.NoError(t, err)
	return f
}

// assertVolumes proves that every mount has its volume: a chart that forgets one renders, and is refused by the cluster.
func assertVolumes(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	have := map[string]bool{}
	for _, v := range pod.Volumes {
		have[v.Name] = true
	}
	for _, c := range containers(pod) {
		for _, m := range c.VolumeMounts {
			assert.True(t, have[m.Name], "container %s mounts %s, which is no volume of the pod", c.Name, m.Name)
		}
	}
}

const (
	slackSecret = "https://hooks.slack.com/services/T0/B0/slack-secret"
	esSecret    = "elasticsearch-secret"
	uiSecret    = "ui-secret-password"
)

// sidekick settings with every output.
func sidekick(version string) recorder.Settings {
	s := falco(map[string]string{
		"falcosidekick.chartVersion": version, "falcosidekick.elasticsearch.hostPort": "http://elasticsearch:9200",
		"falcosidekick.elasticsearch.username": "falco", "falcosidekick.ui.enabled": "true", "falcosidekick.slack.minimumPriority": "error",
	})
	s.Secrets = map[string]string{
		config.SlackWebhookKey: slackSecret, config.ElasticsearchPasswordKey: esSecret, config.UIPasswordKey: uiSecret,
	}
	return s
}

func TestFalcosidekick(t *testing.T) {
	t.Parallel()
	for _, version := range charts.Supported(charts.FalcosidekickName) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			o, release, run := render(t, "falcosidekick-release", sidekick(version))
			deployment := get[appsv1.Deployment](o, "Deployment", config.FalcosidekickRelease)
			secret, ok := run.Find("falcosidekick-outputs")
			require.True(t, ok)

			t.Run("reads_secrets_by_name_and_has_none", func(t *testing.T) {
				// Of two with the same variable the last one wins, and the chart's own has them all, empty.
				for _, d := range []appsv1.Deployment{deployment, get[appsv1.Deployment](o, "Deployment", config.FalcosidekickRelease+"-ui")} {
					c := d.Spec.Template.Spec.Containers[0]
					require.NotEmpty(t, c.EnvFrom, d.Name)
					last := c.EnvFrom[len(c.EnvFrom)-1]
					require.NotNil(t, last.SecretRef, d.Name)
					assert.Equal(t, secret.Get("metadata", "name"), last.SecretRef.Name, d.Name)
					assert.NotEmpty(t, d.Spec.Template.Annotations[values.SecretHashAnnotation], "another secret rolls the pods")
				}
				for _, s := range []string{slackSecret, "slack-secret", esSecret, uiSecret} {
					assert.NotContains(t, o.text, s)
					assert.NotContains(t, o.text, base64.StdEncoding.EncodeToString([]byte(s)))
				}
			})
			t.Run("knows_the_variables_that_our_Secret_sets", func(t *testing.T) {
				known := map[string]bool{"FALCOSIDEKICK_UI_USER": true} // of the UI: the chart only sets it when it is not our own
				for _, s := range o.kinds("Secret") {
					data, _ := s["data"].(map[string]any)
					for k := range data {
						known[k] = true
					}
				}
				for k := range secretData(t, secret) {
					assert.True(t, known[k], "%s is no variable of Falcosidekick", k)
				}
			})
			t.Run("runs_the_release_that_the_table_names", func(t *testing.T) {
				chart, err := charts.Resolve(charts.FalcosidekickName, version)
				require.NoError(t, err)
				assert.Equal(t, "docker.io/falcosecurity/falcosidekick:"+chart.AppVersion, deployment.Spec.Template.Spec.Containers[0].Image)
			})
			t.Run("gets_the_outputs_of_the_settings", func(t *testing.T) {
				data := get[corev1.Secret](o, "Secret", config.FalcosidekickRelease).Data
				assert.Equal(t, "http://elasticsearch:9200", string(data["ELASTICSEARCH_HOSTPORT"]))
				assert.Equal(t, "falco", string(data["ELASTICSEARCH_INDEX"]))
				assert.Equal(t, "falco", string(data["ELASTICSEARCH_USERNAME"]))
				assert.Equal(t, "notice", string(data["ELASTICSEARCH_MINIMUMPRIORITY"]))
				assert.Equal(t, "error", string(data["SLACK_MINIMUMPRIORITY"]))
			})
			t.Run("runs_restricted_and_pinned", func(t *testing.T) {
				pod := deployment.Spec.Template.Spec
				c := pod.Containers[0]
				assert.True(t, *pod.SecurityContext.RunAsNonRoot)
				assert.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
				assert.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
				assert.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop)
				assert.False(t, c.Resources.Limits.Memory().IsZero())
				assert.Equal(t, int32(1), *deployment.Spec.Replicas)
				assertPinned(t, o)
				for _, spec := range o.specs() {
					assertVolumes(t, spec)
				}
			})
			t.Run("has_no_UI_and_no_Redis_unless_asked", func(t *testing.T) {
				o, _, _ := render(t, "falcosidekick-release", falco(map[string]string{"falcosidekick.chartVersion": version}))
				for name := range o.specs() {
					assert.NotContains(t, name, "-ui")
				}
			})
			t.Run("renders_the_same_twice", func(t *testing.T) { assert.Equal(t, o.text, install(t, release).text) })
		})
	}
}

func secretData(t *testing.T, secret recorder.Resource) map[string]any {
	t.Helper()
	object, ok := secret.Object()
	require.True(t, ok)
	data, _ := object["stringData"].(map[string]any)
	require.Len(t, data, 3)
	return data
}

// assertPinned proves that no image of what an up runs can mean another one tomorrow; test pods of charts only run when
// somebody asks Helm for them.
func assertPinned(t *testing.T, o objects) {
	t.Helper()
	for name, spec := range o.specs() {
		if strings.HasPrefix(name, "Pod/") {
			continue
		}
		for _, c := range containers(spec) {
			image, digest, _ := strings.Cut(c.Image, "@")
			tag := image[strings.LastIndex(image, "/")+1:]
			_, tag, tagged := strings.Cut(tag, ":")
			assert.True(t, strings.HasPrefix(digest, "sha256:") || tagged && tag != "latest", "%s: %s", name, c.Image)
		}
	}
}

func TestSPIRE(t *testing.T) {
	t.Parallel()
	for _, version := range charts.Supported(charts.SPIREName) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			const socket = "/run/here/agent.sock"
			o, release, run := render(t, "spire-release", recorder.Settings{Values: map[string]string{
				"spire.chartVersion": version, "spire.agentSocketPath": socket, "spire.trustDomain": "corp.example", "spire.clusterName": "east",
			}})
			agent := daemonSet(o, config.SPIRERelease+"-agent")
			driver := daemonSet(o, config.SPIRERelease+"-spiffe-csi-driver")

			t.Run("serves_the_Workload_API_where_the_CSI_driver_looks_for_it", func(t *testing.T) {
				var c struct {
					Agent struct {
						SocketPath  string `json:"socket_path"`
						TrustDomain string `json:"trust_domain"`
					} `json:"agent"`
				}
				text := get[corev1.ConfigMap](o, "ConfigMap", config.SPIRERelease+"-agent").Data["agent.conf"]
				require.NoError(t, json.Unmarshal([]byte(text), &c))
				assert.Equal(t, path.Base(socket), path.Base(c.Agent.SocketPath))
				assert.Equal(t, path.Dir(socket), onNode(agent.Spec.Template.Spec, 0, path.Dir(c.Agent.SocketPath)), "the agent's socket on the node")
				args := strings.Join(driver.Spec.Template.Spec.Containers[0].Args, " ")
				_, dir, _ := strings.Cut(args, "-workload-api-socket-dir ")
				dir, _, _ = strings.Cut(dir, " ")
				assert.Equal(t, path.Dir(socket), onNode(driver.Spec.Template.Spec, 0, dir), "the CSI driver's directory on the node")
				assert.Equal(t, "corp.example", c.Agent.TrustDomain)
				get[storagev1.CSIDriver](o, "CSIDriver", "csi.spiffe.io")
			})
			t.Run("runs_the_release_of_SPIRE_that_the_table_names", func(t *testing.T) {
				chart, err := charts.ResolveSPIRE(version)
				require.NoError(t, err)
				server := get[appsv1.StatefulSet](o, "StatefulSet", config.SPIRERelease+"-server").Spec.Template.Spec.Containers[0]
				assert.Equal(t, "ghcr.io/spiffe/spire-server:"+chart.AppVersion, server.Image)
				assert.Equal(t, "ghcr.io/spiffe/spire-agent:"+chart.AppVersion, agent.Spec.Template.Spec.Containers[0].Image)
			})
			t.Run("gives_no_identity_to_anyone", func(t *testing.T) {
				for _, kind := range []string{"ClusterSPIFFEID", "ClusterStaticEntry", "ClusterFederatedTrustDomain"} {
					assert.Empty(t, o.kinds(kind))
				}
			})
			t.Run("watches_the_class_of_our_identities", func(t *testing.T) {
				text := get[corev1.ConfigMap](o, "ConfigMap", config.SPIRERelease+"-controller-manager").Data["controller-manager-config.yaml"]
				var c struct {
					ClassName string `json:"className"`
					Classless bool   `json:"watchClassless"`
				}
				require.NoError(t, sigsyaml.Unmarshal([]byte(text), &c), text)
				identity, ok := run.Find("mtls-server-identity")
				require.True(t, ok)
				assert.Equal(t, identity.Get("spec", "className"), c.ClassName)
				assert.False(t, c.Classless)
			})
			t.Run("makes_the_DaemonSets_that_the_program_waits_for", func(t *testing.T) {
				waits := map[string]bool{}
				for _, r := range run.Resources {
					if strings.HasSuffix(r.Type, ":DaemonSetPatch") {
						waits[fmt.Sprint(r.Get("metadata", "name"))] = true
					}
				}
				for _, ds := range o.kinds("DaemonSet") {
					assert.True(t, waits[metadata(ds, "name")], "nothing waits for %s", metadata(ds, "name"))
				}
				assert.Len(t, waits, len(o.kinds("DaemonSet")))
			})
			t.Run("runs_only_what_is_needed_and_pinned", func(t *testing.T) {
				var names []string
				for name := range o.specs() {
					if !strings.HasPrefix(name, "Job/") && !strings.HasPrefix(name, "Pod/") {
						names = append(names, name)
					}
				}
				assert.ElementsMatch(t, []string{"DaemonSet/spire-agent", "DaemonSet/spire-spiffe-csi-driver", "StatefulSet/spire-server"}, names)
				assertPinned(t, o)
				for _, spec := range o.specs() {
					assertVolumes(t, spec)
				}
			})
			t.Run("keeps_its_data_where_the_settings_say", func(t *testing.T) {
				assert.Len(t, get[appsv1.StatefulSet](o, "StatefulSet", "spire-server").Spec.VolumeClaimTemplates, 1)
				o, _, _ := render(t, "spire-release", recorder.Settings{Values: map[string]string{"spire.chartVersion": version, "spire.persistence": "emptyDir"}})
				assert.Empty(t, get[appsv1.StatefulSet](o, "StatefulSet", "spire-server").Spec.VolumeClaimTemplates)
			})
			t.Run("renders_the_same_twice", func(t *testing.T) { assert.Equal(t, o.text, install(t, release).text) })
		})
	}
}

// onNode is where a directory of the container is on the node.
func onNode(pod corev1.PodSpec, container int, dir string) string {
	for _, m := range pod.Containers[container].VolumeMounts {
		for _, v := range pod.Volumes {
			if v.Name == m.Name && path.Clean(m.MountPath) == dir && v.HostPath != nil {
				return v.HostPath.Path
			}
		}
	}
	return "nowhere"
}

func TestSPIRECRDs(t *testing.T) {
	t.Parallel()
	for _, version := range charts.Supported(charts.SPIREName) {
		o, r, _ := render(t, "spire-crds", recorder.Settings{Values: map[string]string{"spire.chartVersion": version}})
		chart, err := charts.ResolveSPIRE(version)
		require.NoError(t, err)
		assert.Equal(t, chart.CRDs, r.Get("version"))
		crds := o.kinds("CustomResourceDefinition")
		require.Len(t, crds, 3)
		for _, crd := range crds {
			m, _ := crd["metadata"].(map[string]any)
			annotations, _ := m["annotations"].(map[string]any)
			assert.NotContains(t, annotations, "helm.sh/resource-policy", "%s would stay for ever", metadata(crd, "name"))
		}
	}
}

// TestTheUsersValuesReachTheObjects has a value of each kind, beside the stack's own.
func TestTheUsersValuesReachTheObjects(t *testing.T) {
	t.Parallel()
	settings := falco(map[string]string{
		"falco.chartVersion":          "9.1.0",
		config.FalcoValuesKey:         `{"tolerations":[{"key":"dedicated","operator":"Exists"}],"falco":{"static_fields":{"env":"prod"},"output_timeout":500}}`,
		config.FalcosidekickValuesKey: `{"replicaCount":2}`,
		config.SPIREValuesKey:         `{"spire-server":{"caTTL":"48h"}}`,
		config.SPIRECRDsValuesKey:     `{"annotations":{"example.org/owner":"platform"}}`,
	})
	o, _, _ := render(t, "falco-release", settings)
	pod := daemonSet(o, config.FalcoRelease).Spec.Template.Spec
	require.Len(t, pod.Tolerations, 1)
	assert.Equal(t, "dedicated", pod.Tolerations[0].Key)
	text := get[corev1.ConfigMap](o, "ConfigMap", config.FalcoRelease).Data["falco.yaml"]
	assert.Contains(t, text, "output_timeout: 500")
	assert.Contains(t, text, "env: prod")
	assert.True(t, falcoYAML(t, o).JSONOutput, "the stack's stay")
	o, _, _ = render(t, "falcosidekick-release", settings)
	assert.Equal(t, int32(2), *get[appsv1.Deployment](o, "Deployment", config.FalcosidekickRelease).Spec.Replicas)
	o, _, _ = render(t, "spire-release", settings)
	assert.Contains(t, get[corev1.ConfigMap](o, "ConfigMap", "spire-server").Data["server.conf"], `"ca_ttl": "48h"`)
	o, _, _ = render(t, "spire-crds", settings)
	for _, crd := range o.kinds("CustomResourceDefinition") {
		m, _ := crd["metadata"].(map[string]any)
		annotations, _ := m["annotations"].(map[string]any)
		assert.Equal(t, "platform", annotations["example.org/owner"])
		assert.NotContains(t, annotations, "helm.sh/resource-policy")
	}
}

// TestAnAPIServerTakesEveryChart applies everything that the charts make to a real API server, strictly, and admits its
// pods where Falco and SPIRE run.
func TestAnAPIServerTakesEveryChart(t *testing.T) {
	if strings.Contains(","+os.Getenv("SPIRE_FALCO_SKIP")+",", ",apiserver,") {
		t.Skip("SPIRE_FALCO_SKIP=apiserver: not checked that an API server accepts what the charts make")
	}
	server, err := controlplane.Start(t.Context(), "../..", os.Stderr)
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	apply := func(t *testing.T, object map[string]any) {
		t.Helper()
		r, err := server.Apply(context.Background(), "charts", object)
		require.NoError(t, err)
		require.NoError(t, r.Err(), "%v/%v", object["kind"], metadata(object, "name"))
	}
	all := func(t *testing.T, release string, settings recorder.Settings) {
		t.Helper()
		o, r, run := render(t, release, settings)
		for _, res := range run.Resources {
			if object, ok := res.Object(); ok && object["kind"] == "Namespace" {
				apply(t, object)
			}
		}
		for _, object := range o.all {
			if object["kind"] == "ServiceMonitor" || object["kind"] == "Pod" {
				continue // a CRD of others; test pods
			}
			m, _ := object["metadata"].(map[string]any)
			if m["namespace"] == nil && namespaced(object) {
				m["namespace"] = r.Get("namespace") // as Helm does
			}
			apply(t, object)
		}
		for name, spec := range o.specs() {
			if strings.HasPrefix(name, "Pod/") {
				continue
			}
			pod := map[string]any{
				"apiVersion": "v1", "kind": "Pod",
				"metadata": map[string]any{"generateName": "admitted-", "namespace": r.Get("namespace")}, "spec": spec,
			}
			path, err := server.Path(context.Background(), "v1", "Pod", fmt.Sprint(r.Get("namespace")), "")
			require.NoError(t, err)
			answer, err := server.Do(context.Background(), http.MethodPost, path+"?dryRun=All", "application/json", pod)
			require.NoError(t, err)
			assert.NoError(t, answer.Err(), name)
		}
	}
	for _, version := range charts.Supported(charts.SPIREName) {
		t.Run("spire_"+version, func(t *testing.T) { // one after the other, as an upgrade goes
			s := recorder.Settings{Values: map[string]string{"spire.chartVersion": version, "spire.namespace": "spire-" + strings.ReplaceAll(version, ".", "-")}}
			all(t, "spire-crds", s)
			all(t, "spire-release", s)
		})
	}
	for _, version := range charts.Supported(charts.FalcoName) {
		t.Run("falco_"+version, func(t *testing.T) {
			all(t, "falco-release", falco(map[string]string{"falco.chartVersion": version, "falco.namespace": "falco-" + strings.ReplaceAll(version, ".", "-")}))
		})
	}
	for _, version := range charts.Supported(charts.FalcosidekickName) {
		t.Run("falcosidekick_"+version, func(t *testing.T) {
			s := sidekick(version)
			s.Values["falco.namespace"] = "sidekick-" + strings.ReplaceAll(version, ".", "-")
			all(t, "falcosidekick-release", s)
		})
	}
}

func namespaced(object map[string]any) bool {
	switch object["kind"] {
	case "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "CSIDriver", "ValidatingWebhookConfiguration", "Namespace":
		return false
	}
	return true
}
