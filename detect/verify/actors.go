package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"spire-falco/config"
	"spire-falco/detect/kube"
)

// Label is on everything that verify creates; its value is the run's ID.
const Label = "spire-falco/verify"

// Namespace is the namespace of a run's privileged pod.
const Namespace = "spire-falco-verify"

const (
	toolContainer  = "toolbox"
	debugContainer = "debug"
	userID         = 65532
	// deadline is when Kubernetes ends the pods of a run that died, in seconds.
	deadline = 900
	// neverReady is a readiness gate that nobody sets: a pod with the workload's label must not get its Service's traffic.
	neverReady = "spire-falco/never-ready"
)

// idle is a first process that ends at once on SIGTERM.
var idle = []string{"sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"}

// restricted is the security context that the restricted Pod Security Standard requires.
func restricted() kube.Object {
	return kube.Object{
		"allowPrivilegeEscalation": false,
		"runAsNonRoot":             true,
		"runAsUser":                userID,
		"runAsGroup":               userID,
		"capabilities":             kube.Object{"drop": []string{"ALL"}},
		"seccompProfile":           kube.Object{"type": "RuntimeDefault"},
	}
}

func (r *run) metadata(namespace, name string, labels map[string]string) kube.Object {
	all := map[string]string{Label: r.id, "app.kubernetes.io/managed-by": Namespace}
	maps.Copy(all, labels)
	m := kube.Object{"name": name, "labels": all}
	if namespace != "" {
		m["namespace"] = namespace
	}
	return m
}

func (r *run) podName(a actor) string {
	if a == debugger {
		a = server
	}
	return Namespace + "-" + r.id + "-" + string(a)
}

func (r *run) podNamespace(a actor) string {
	if a == node {
		return Namespace
	}
	return r.target.Namespace
}

func (r *run) container(a actor) string {
	switch a {
	case server:
		return r.target.Name
	case debugger:
		return debugContainer
	}
	return toolContainer
}

func (r *run) toolboxPod() kube.Object {
	w := r.target
	return kube.Object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": r.metadata(w.Namespace, r.podName(toolbox), map[string]string{"app": w.Name}),
		"spec": kube.Object{
			"restartPolicy":                 "Never",
			"activeDeadlineSeconds":         deadline,
			"terminationGracePeriodSeconds": 1,
			"enableServiceLinks":            false,
			// The workload's own pods mount no token. This one, of the account default, is for an attack to open.
			"automountServiceAccountToken": true,
			"readinessGates":               []kube.Object{{"conditionType": neverReady}},
			// A tool at the path of the workload's program.
			"initContainers": []kube.Object{{
				"name": "tool", "image": r.options.ToolboxImage, "imagePullPolicy": "IfNotPresent",
				"command":         []string{"sh", "-c", `cp "$(command -v busybox)" /tool/program`},
				"securityContext": restricted(),
				"resources":       smallResources(),
				"volumeMounts":    []kube.Object{{"name": "tool", "mountPath": "/tool"}},
			}},
			"containers": []kube.Object{{
				"name": toolContainer, "image": r.options.ToolboxImage, "imagePullPolicy": "IfNotPresent",
				"command":         idle,
				"securityContext": restricted(),
				"resources":       smallResources(),
				"volumeMounts": []kube.Object{
					{"name": "workload-api", "mountPath": path.Dir(w.SocketPath), "readOnly": true},
					{"name": "certificates", "mountPath": "/etc/ssl/certs"},
					{"name": "tool", "mountPath": w.Executable, "subPath": "program", "readOnly": true},
				},
			}},
			"volumes": []kube.Object{
				{"name": "workload-api", "csi": kube.Object{"driver": "csi.spiffe.io", "readOnly": true}},
				{"name": "certificates", "emptyDir": kube.Object{"sizeLimit": "1Mi"}},
				{"name": "tool", "emptyDir": kube.Object{"sizeLimit": "8Mi"}},
			},
		},
	}
}

func (r *run) nodePod() kube.Object {
	// Files that a run that died left on the node are removed first.
	command := []string{"sh", "-c", "rm -f " + hostRoot + nodeFilePrefix + "*; " + idle[2]}
	return kube.Object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": r.metadata(Namespace, r.podName(node), nil),
		"spec": kube.Object{
			"nodeName":                      r.nodeName,
			"restartPolicy":                 "Never",
			"activeDeadlineSeconds":         deadline,
			"terminationGracePeriodSeconds": 1,
			"automountServiceAccountToken":  false,
			"hostPID":                       true,
			"tolerations":                   []kube.Object{{"operator": "Exists"}},
			"containers": []kube.Object{{
				"name": toolContainer, "image": r.options.ToolboxImage, "imagePullPolicy": "IfNotPresent",
				"command":         command,
				"securityContext": kube.Object{"privileged": true, "runAsUser": 0},
				"resources":       smallResources(),
				"volumeMounts":    []kube.Object{{"name": "node", "mountPath": hostRoot}},
			}},
			"volumes": []kube.Object{{"name": "node", "hostPath": kube.Object{"path": "/", "type": "Directory"}}},
		},
	}
}

func smallResources() kube.Object {
	return kube.Object{
		"requests": kube.Object{"cpu": "10m", "memory": "8Mi"},
		"limits":   kube.Object{"cpu": "200m", "memory": "32Mi"},
	}
}

// podTemplate returns the pod spec of the workload's Deployment.
func (r *run) podTemplate(ctx context.Context) (kube.Object, error) {
	var deployment struct {
		Spec struct {
			Template struct {
				Spec kube.Object `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := r.kube.Get(ctx, deploymentPath(r.target), nil, &deployment); err != nil {
		return nil, fmt.Errorf("read the workload's Deployment: %w", err)
	}
	return deployment.Spec.Template.Spec, nil
}

func deploymentPath(w config.Workload) string {
	return "/apis/apps/v1/namespaces/" + w.Namespace + "/deployments/" + w.Name
}

// copyOf returns a single pod from the workload's template: same account, image and volumes, another environment, and
// no probes.
func (r *run) copyOf(
	template kube.Object, name string, labels, environment map[string]string, command ...string,
) (kube.Object, error) {
	spec := maps.Clone(template)
	containers, _ := spec["containers"].([]any)
	if len(containers) == 0 {
		return nil, fmt.Errorf("the Deployment %s/%s has no container", r.target.Namespace, r.target.Name)
	}
	first, _ := containers[0].(map[string]any)
	container := kube.Object{}
	for k, v := range first {
		if !strings.HasSuffix(k, "Probe") {
			container[k] = v
		}
	}
	container["name"] = r.target.Name
	if len(command) > 0 {
		container["command"] = command
		delete(container, "args")
	}
	variables, _ := container["env"].([]any)
	variables = slices.DeleteFunc(slices.Clone(variables), func(v any) bool {
		m, _ := v.(map[string]any)
		n, _ := m["name"].(string)
		_, replaced := environment[n]
		return replaced
	})
	for _, k := range slices.Sorted(maps.Keys(environment)) {
		variables = append(variables, kube.Object{"name": k, "value": environment[k]})
	}
	container["env"] = variables
	spec["containers"] = []any{container}
	spec["restartPolicy"] = "Never"
	spec["activeDeadlineSeconds"] = deadline
	spec["terminationGracePeriodSeconds"] = 5
	return kube.Object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": r.metadata(r.target.Namespace, name, labels),
		"spec":     spec,
	}, nil
}

func (r *run) serverPod(ctx context.Context) (kube.Object, error) {
	template, err := r.podTemplate(ctx)
	if err != nil {
		return nil, err
	}
	pod, err := r.copyOf(template, r.podName(server), map[string]string{"app": r.target.Name},
		map[string]string{"SERVER_ADDRESS": fmt.Sprintf(":%d", r.port)})
	if err != nil {
		return nil, err
	}
	pod["spec"].(kube.Object)["readinessGates"] = []kube.Object{{"conditionType": neverReady}}
	return pod, nil
}

// create creates a pod of the run.
func (r *run) create(ctx context.Context, pod kube.Object) error {
	namespace, _ := pod["metadata"].(kube.Object)["namespace"].(string)
	if err := r.kube.Create(ctx, "/api/v1/namespaces/"+namespace+"/pods", pod); err != nil {
		return fmt.Errorf("create a pod for the attacks: %w", err)
	}
	return nil
}

// attach adds the ephemeral debug container to the copy of the server; its shell is an attack by itself.
func (r *run) attach(ctx context.Context, marker string) error {
	patch := kube.Object{"spec": kube.Object{"ephemeralContainers": []kube.Object{{
		"name": debugContainer, "image": r.options.ToolboxImage, "imagePullPolicy": "IfNotPresent",
		"targetContainerName": r.target.Name,
		"command":             []string{"sh", "-c", ": " + marker + "; " + idle[2]},
		"securityContext":     restricted(),
	}}}}
	return r.kube.Patch(ctx, kube.PodPath(r.target.Namespace, r.podName(server))+"/ephemeralcontainers", patch)
}

// running waits until the container of the actor runs. A problem that waiting cannot solve is an error at once.
func (r *run) running(ctx context.Context, a actor) error {
	return r.containerRunning(ctx, r.podNamespace(a), r.podName(a), r.container(a))
}

func (r *run) containerRunning(ctx context.Context, namespace, name, container string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.options.StartTimeout, errTimeout)
	defer cancel()
	why := "not scheduled yet"
	for {
		var pod kube.Pod
		if err := r.kube.Get(ctx, kube.PodPath(namespace, name), nil, &pod); err != nil {
			if ctx.Err() == nil {
				return err
			}
		} else if status, ok := pod.Container(container); ok {
			switch {
			case status.State.Running != nil:
				return nil
			case status.State.Terminated != nil:
				return fmt.Errorf("container %s of pod %s/%s exited with code %d (%s)", container, namespace, name,
					status.State.Terminated.ExitCode, status.State.Terminated.Reason)
			case status.State.Waiting != nil:
				why = strings.TrimSpace(status.State.Waiting.Reason + " " + status.State.Waiting.Message)
				if slices.Contains(permanentReasons, status.State.Waiting.Reason) {
					return fmt.Errorf("container %s of pod %s/%s: %s (--toolbox-image sets another image with busybox's tools)",
						container, namespace, name, why)
				}
			}
		} else {
			for _, c := range pod.Status.Conditions {
				if c.Type == "PodScheduled" && c.Status != "True" {
					why = c.Reason + " " + c.Message
				}
			}
		}
		if !pause(ctx, r.options.Poll) {
			if errors.Is(context.Cause(ctx), errTimeout) {
				return fmt.Errorf("container %s of pod %s/%s does not run after %s: %s",
					container, namespace, name, r.options.StartTimeout, why)
			}
			return context.Cause(ctx)
		}
	}
}

// permanentReasons are the reasons for which a container waits that do not pass by themselves.
var permanentReasons = []string{
	"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError",
}

var errTimeout = errors.New("timed out")

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// labelled selects everything that any run created.
func labelled() url.Values { return url.Values{"labelSelector": {Label}} }
