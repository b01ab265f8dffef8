// Package kube is the part of the Kubernetes API that detection needs: pods, their logs, commands in them, and plain
// objects. It uses only client-go's REST client: the typed clientset would be the largest part of the program, and
// kubectl would need a process for each followed pod.
package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
)

// Object is a Kubernetes object as decoded from JSON.
type Object = map[string]any

// Client talks to one cluster. It is safe for concurrent use.
type Client struct {
	config *rest.Config
	rest   *rest.RESTClient
}

// requestsPerSecond and requestBurst replace client-go's default of 5 and 10, which would delay the polling of many
// nodes.
const (
	requestsPerSecond = 50
	requestBurst      = 100
)

// New returns a client for a context of the kubeconfig file; an empty context is the file's current one.
func New(kubeconfig, contextName string) (*Client, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: contextName},
	).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read context %q of kubeconfig %s: %w", contextName, kubeconfig, err)
	}
	return NewForConfig(config)
}

// NewForConfig returns a client for a connection that is already configured.
func NewForConfig(config *rest.Config) (*Client, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = requestsPerSecond, requestBurst
	scheme := runtime.NewScheme()
	v1 := schema.GroupVersion{Version: "v1"}
	metav1.AddToGroupVersion(scheme, v1)
	scheme.AddUnversionedTypes(v1, &metav1.Status{}) // the API's error answers
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.AcceptContentTypes = runtime.ContentTypeJSON
	config.ContentType = runtime.ContentTypeJSON
	client, err := rest.UnversionedRESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return &Client{config: config, rest: client}, nil
}

// IsNotFound reports whether err means that the object does not exist.
func IsNotFound(err error) bool { return apierrors.IsNotFound(err) }

// IsAlreadyExists reports whether err means that the object already exists.
func IsAlreadyExists(err error) bool { return apierrors.IsAlreadyExists(err) }

// IsRetriable reports whether the same request may succeed later: the cluster could not be reached, or was too busy.
func IsRetriable(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	return status.Status().Code >= http.StatusInternalServerError || apierrors.IsTooManyRequests(err)
}

// Get decodes the object at path, such as /api/v1/namespaces/mtls, into the value that into points to.
func (c *Client) Get(ctx context.Context, path string, query url.Values, into any) error {
	text, err := c.GetRaw(ctx, path, query)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("decode the answer to GET %s: %w", path, err)
	}
	return nil
}

// GetRaw returns the body of GET path, which may be a path of the API server's proxy to pods.
func (c *Client) GetRaw(ctx context.Context, path string, query url.Values) ([]byte, error) {
	return raw(ctx, path, withQuery(c.rest.Get().AbsPath(path), query))
}

// raw is like DoRaw, but its error contains the API's message.
func raw(ctx context.Context, path string, request *rest.Request) ([]byte, error) {
	result := request.Do(ctx)
	if err := result.Error(); err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	text, err := result.Raw()
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", path, err)
	}
	return text, nil
}

// ListMetadata returns only the metadata of the objects in the collection at path that a label selector matches, so
// that the content of Secrets is not read.
func (c *Client) ListMetadata(ctx context.Context, path, selector string) ([]Metadata, error) {
	request := withQuery(c.rest.Get().AbsPath(path), url.Values{"labelSelector": {selector}})
	request = request.SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	text, err := raw(ctx, path, request)
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata Metadata `json:"metadata"`
		} `json:"items"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("decode the answer to GET %s: %w", path, err)
	}
	all := make([]Metadata, len(list.Items))
	for i, item := range list.Items {
		all[i] = item.Metadata
	}
	return all, nil
}

// Create creates the object in the collection at path.
func (c *Client) Create(ctx context.Context, path string, object Object) error {
	body, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("encode the object for %s: %w", path, err)
	}
	if err := c.rest.Post().AbsPath(path).Body(body).Do(ctx).Error(); err != nil {
		return fmt.Errorf("create in %s: %w", path, err)
	}
	return nil
}

// Patch applies a strategic merge patch to the object at path.
func (c *Client) Patch(ctx context.Context, path string, patch Object) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encode the patch for %s: %w", path, err)
	}
	request := c.rest.Patch(types.StrategicMergePatchType).AbsPath(path).Param("fieldManager", "spire-falco").Body(body)
	if err := request.Do(ctx).Error(); err != nil {
		return fmt.Errorf("patch %s: %w", path, err)
	}
	return nil
}

// Delete deletes the object at path. It is no error if it does not exist.
func (c *Client) Delete(ctx context.Context, path string) error {
	body := []byte(`{"apiVersion":"v1","kind":"DeleteOptions","propagationPolicy":"Background"}`)
	if err := c.rest.Delete().AbsPath(path).Body(body).Do(ctx).Error(); err != nil && !IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", path, err)
	}
	return nil
}

// Pod has the fields of a pod that detection needs.
type Pod struct {
	Metadata Metadata `json:"metadata"`
	Spec     struct {
		NodeName string `json:"nodeName"`
	} `json:"spec"`
	Status struct {
		Phase                      string            `json:"phase"`
		Conditions                 []Condition       `json:"conditions"`
		ContainerStatuses          []ContainerStatus `json:"containerStatuses"`
		EphemeralContainerStatuses []ContainerStatus `json:"ephemeralContainerStatuses"`
	} `json:"status"`
}

// Metadata has the metadata of any object that detection needs.
type Metadata struct {
	Name              string            `json:"name"`
	Namespace         string            `json:"namespace"`
	UID               string            `json:"uid"`
	Labels            map[string]string `json:"labels"`
	Annotations       map[string]string `json:"annotations"`
	CreationTimestamp time.Time         `json:"creationTimestamp"`
	DeletionTimestamp string            `json:"deletionTimestamp"`
	Generation        int64             `json:"generation"`
}

// Condition is one of the conditions in a status.
type Condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// ContainerStatus is the state of one container.
type ContainerStatus struct {
	Name         string `json:"name"`
	Ready        bool   `json:"ready"`
	RestartCount int    `json:"restartCount"`
	State        struct {
		Running *struct {
			StartedAt time.Time `json:"startedAt"`
		} `json:"running"`
		Waiting *struct {
			Reason  string `json:"reason"`
			Message string `json:"message"`
		} `json:"waiting"`
		Terminated *struct {
			ExitCode int    `json:"exitCode"`
			Reason   string `json:"reason"`
		} `json:"terminated"`
	} `json:"state"`
}

// Ready reports whether the pod's condition Ready is true.
func (p Pod) Ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// Container returns the status of a container, including ephemeral ones, and false when it has none yet.
func (p Pod) Container(name string) (ContainerStatus, bool) {
	for _, list := range [][]ContainerStatus{p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for _, s := range list {
			if s.Name == name {
				return s, true
			}
		}
	}
	return ContainerStatus{}, false
}

// Pods lists the pods that a label selector matches, in all namespaces if namespace is empty.
func (c *Client) Pods(ctx context.Context, namespace, selector string) ([]Pod, error) {
	path := "/api/v1/pods"
	if namespace != "" {
		path = "/api/v1/namespaces/" + namespace + "/pods"
	}
	var list struct {
		Items []Pod `json:"items"`
	}
	if err := c.Get(ctx, path, url.Values{"labelSelector": {selector}}, &list); err != nil {
		return nil, err
	}
	return list.Items, nil
}

// PodPath returns the API path of a pod.
func PodPath(namespace, name string) string {
	return "/api/v1/namespaces/" + namespace + "/pods/" + name
}

// LogOptions says which part of a container's log to read.
type LogOptions struct {
	Container string
	// Since excludes older lines, in whole seconds; zero means none.
	Since time.Time
	// Follow keeps reading until the container ends.
	Follow bool
	// Previous reads the log of the container before its last restart.
	Previous bool
}

// Logs opens the log of a container. Each line begins with its time (RFC 3339 with nanoseconds) and a space.
func (c *Client) Logs(ctx context.Context, namespace, pod string, o LogOptions) (io.ReadCloser, error) {
	query := url.Values{"timestamps": {"true"}, "container": {o.Container}}
	if o.Follow {
		query.Set("follow", "true")
	}
	if o.Previous {
		query.Set("previous", "true")
	}
	if !o.Since.IsZero() {
		query.Set("sinceTime", o.Since.UTC().Format(time.RFC3339))
	}
	stream, err := withQuery(c.rest.Get().AbsPath(PodPath(namespace, pod)+"/log"), query).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the log of pod %s/%s: %w", namespace, pod, err)
	}
	return stream, nil
}

// Exec runs a command in a container of a running pod and returns its exit status, which is no error if it is not 0.
func (c *Client) Exec(
	ctx context.Context, namespace, pod, container string, command []string, stdout, stderr io.Writer,
) (int, error) {
	query := url.Values{"container": {container}, "command": command, "stdout": {"true"}, "stderr": {"true"}}
	target := withQuery(c.rest.Post().AbsPath(PodPath(namespace, pod)+"/exec"), query).URL()
	socket, err := remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, target.String())
	if err != nil {
		return 0, fmt.Errorf("exec in pod %s/%s: %w", namespace, pod, err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.config, http.MethodPost, target)
	if err != nil {
		return 0, fmt.Errorf("exec in pod %s/%s: %w", namespace, pod, err)
	}
	executor, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) // the API server, or a proxy in front of it, does not support WebSocket
	})
	if err != nil {
		return 0, fmt.Errorf("exec in pod %s/%s: %w", namespace, pod, err)
	}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: stdout, Stderr: stderr})
	var exit interface{ ExitStatus() int }
	if errors.As(err, &exit) {
		return exit.ExitStatus(), nil
	}
	if err != nil {
		return 0, fmt.Errorf("exec in pod %s/%s: %w", namespace, pod, err)
	}
	return 0, nil
}

// ProxyPath returns the path at which the API server forwards a GET to a port of a pod.
func ProxyPath(namespace, pod string, port int, path string) string {
	return PodPath(namespace, pod+":"+strconv.Itoa(port)) + "/proxy" + path
}

func withQuery(r *rest.Request, query url.Values) *rest.Request {
	for key, list := range query {
		for _, value := range list {
			r = r.Param(key, value)
		}
	}
	return r
}
