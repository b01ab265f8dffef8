// Package controlplane runs a real etcd and kube-apiserver on loopback ports for tests: no node, no controllers,
// nothing that needs root. Both programs are built once from the module that tools/kubernetes pins and kept in the
// cache.
package controlplane

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"spire-falco/gotool"
)

// readyTimeout is how long the API server may take to serve; on two busy cores it takes about 10 s.
const readyTimeout = 2 * time.Minute

// Server is a running API server and its etcd.
type Server struct {
	// Version of Kubernetes, such as v1.36.3.
	Version string

	url, token string
	client     *http.Client
	dir        string
	processes  []*process

	mu        sync.Mutex
	discovery map[string]map[string]kind // by apiVersion and kind
}

// Start builds what the cache does not have, with progress on log, and starts both. root is the project's folder.
func Start(ctx context.Context, root string, log io.Writer) (*Server, error) {
	module := filepath.Join(root, "tools", "kubernetes")
	etcd, err := gotool.Build(ctx, gotool.Tool{
		Name: "etcd", Dir: module, Module: "go.etcd.io/etcd/server/v3", Package: "go.etcd.io/etcd/server/v3",
	}, log)
	if err != nil {
		return nil, fmt.Errorf("get etcd: %w", err)
	}
	kubernetes := gotool.Tool{
		Name: "kube-apiserver", Dir: module, Module: "k8s.io/kubernetes", Package: "k8s.io/kubernetes/cmd/kube-apiserver",
		// Without these the server calls itself v0.0.0-master+$Format and serves beta APIs of that version.
		LDFlags: versionFlags("k8s.io/component-base/version") + " " + versionFlags("k8s.io/client-go/pkg/version"),
	}
	apiserver, err := gotool.Build(ctx, kubernetes, log)
	if err != nil {
		return nil, fmt.Errorf("get kube-apiserver: %w", err)
	}
	version, err := kubernetes.Version()
	if err != nil {
		return nil, fmt.Errorf("get kube-apiserver: %w", err)
	}
	dir, err := os.MkdirTemp("", "controlplane-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the control plane: %w", err)
	}
	s := &Server{Version: version, dir: dir, discovery: map[string]map[string]kind{}}
	if err := s.start(ctx, etcd, apiserver); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// versionFlags are the linker's flags that tell a package of Kubernetes its version.
func versionFlags(pkg string) string {
	return fmt.Sprintf("-X %[1]s.gitVersion=VERSION -X %[1]s.gitTreeState=clean -X %[1]s.gitCommit=module", pkg)
}

func (s *Server) start(ctx context.Context, etcd, apiserver string) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	client, peer := "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	err = s.run(etcd, "--name=default", "--data-dir="+filepath.Join(s.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)
	if err != nil {
		return err
	}
	key, tokens, err := s.credentials()
	if err != nil {
		return err
	}
	certificates := filepath.Join(s.dir, "certificates")
	err = s.run(apiserver, "--etcd-servers="+client, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+ports[2],
		"--cert-dir="+certificates, "--token-auth-file="+tokens, "--authorization-mode=RBAC", "--allow-privileged=true",
		"--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+key, "--service-account-signing-key-file="+key, "--watch-cache=false", "--profiling=false")
	if err != nil {
		return err
	}
	s.url = "https://127.0.0.1:" + ports[2]
	return s.ready(ctx, filepath.Join(certificates, "apiserver.crt"))
}

// credentials makes the key of service accounts and the token of a cluster administrator.
func (s *Server) credentials() (key, tokens string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make the key of service accounts: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return "", "", fmt.Errorf("write the key of service accounts: %w", err)
	}
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return "", "", fmt.Errorf("make a token: %w", err)
	}
	s.token = hex.EncodeToString(secret)
	key, tokens = filepath.Join(s.dir, "accounts.key"), filepath.Join(s.dir, "tokens.csv")
	err = errors.Join(
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600),
		os.WriteFile(tokens, []byte(s.token+",tests,tests,system:masters\n"), 0o600),
	)
	if err != nil {
		return "", "", fmt.Errorf("write the credentials of the API server: %w", err)
	}
	return key, tokens, nil
}

// freePorts finds loopback ports that nobody listens on now.
func freePorts(n int) ([]string, error) {
	out := make([]string, n)
	for i := range out {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() //nolint:errcheck // held until all are found, so that they differ
		out[i] = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}

// process is a program that was started here.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

func (s *Server) run(path string, args ...string) error {
	p := &process{name: filepath.Base(path), done: make(chan struct{})}
	p.log = filepath.Join(s.dir, p.name+".log")
	log, err := os.Create(p.log)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer log.Close()                   //nolint:errcheck // the program has a descriptor of its own
	p.cmd = exec.Command(path, args...) //nolint:gosec // built from a pinned module
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = dieWithParent()
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	s.processes = append(s.processes, p)
	return nil
}

// ended is an error with the end of the log when one of the programs has ended.
func (s *Server) ended() error {
	for _, p := range s.processes {
		select {
		case <-p.done:
			return fmt.Errorf("%s has ended: %s", p.name, p.tail())
		default:
		}
	}
	return nil
}

func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return "its log ends with:\n" + string(text[max(0, len(text)-2000):])
}

func (s *Server) ready(ctx context.Context, certificate string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		if err := s.ended(); err != nil {
			return err
		}
		if s.client == nil {
			s.trust(certificate)
		}
		if s.client != nil {
			if r, err := s.Do(ctx, http.MethodGet, "/readyz", "", nil); err == nil && r.Status == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server is not ready after %s; %s", readyTimeout, s.processes[len(s.processes)-1].tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// trust makes a client of the certificate that the server has made for itself; none while it is not there.
func (s *Server) trust(certificate string) {
	text, err := os.ReadFile(certificate)
	roots := x509.NewCertPool()
	if err != nil || !roots.AppendCertsFromPEM(text) {
		return
	}
	s.client = &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}},
	}
}

// Kubeconfig writes a kubeconfig of a cluster administrator, whose only context has the name tests, and returns its
// path.
func (s *Server) Kubeconfig() (string, error) {
	file := filepath.Join(s.dir, "kubeconfig")
	text := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "tests",
		"clusters": [{"name": "tests", "cluster": {"server": %q, "certificate-authority": %q}}],
		"users": [{"name": "tests", "user": {"token": %q}}],
		"contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}]}`,
		s.url, filepath.Join(s.dir, "certificates", "apiserver.crt"), s.token)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write the kubeconfig: %w", err)
	}
	return file, nil
}

// Stop ends both programs and removes what they wrote.
func (s *Server) Stop() {
	for _, p := range slices.Backward(s.processes) {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(2 * time.Second): // an API server drains for long; nothing here is worth the wait
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	}
	_ = os.RemoveAll(s.dir)
}

// Response of the API server.
type Response struct {
	Status int
	// Body is the decoded JSON; nil when it is none.
	Body map[string]any
	// Warnings that the server sent along.
	Warnings []string
}

// Err is the server's message when the request did not succeed.
func (r Response) Err() error {
	if r.Status/100 == 2 {
		return nil
	}
	message, _ := r.Body["message"].(string)
	return fmt.Errorf("the API server answers %d: %s", r.Status, message)
}

// Do sends a request as a cluster administrator; body is sent as JSON, which is YAML too.
func (s *Server) Do(ctx context.Context, method, path, contentType string, body any) (Response, error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return Response{}, fmt.Errorf("write the body of %s %s: %w", method, path, err)
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, reader)
	if err != nil {
		return Response{}, fmt.Errorf("make the request %s %s: %w", method, path, err)
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Content-Type", contentType)
	answer, err := s.client.Do(request)
	if err != nil {
		return Response{}, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return Response{}, fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	r := Response{Status: answer.StatusCode, Warnings: answer.Header.Values("Warning")}
	_ = json.Unmarshal(text, &r.Body)
	return r, nil
}

// kind is how the API server serves a kind.
type kind struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Namespaced bool   `json:"namespaced"`
}

// Path of an object, or of its collection when name is empty.
func (s *Server) Path(ctx context.Context, apiVersion, kindName, namespace, name string) (string, error) {
	base := "/apis/" + apiVersion
	if !strings.Contains(apiVersion, "/") {
		base = "/api/" + apiVersion
	}
	k, err := s.kind(ctx, base, apiVersion, kindName)
	if err != nil {
		return "", err
	}
	if k.Namespaced {
		if namespace == "" {
			return "", fmt.Errorf("%s %s needs a namespace", kindName, name)
		}
		base += "/namespaces/" + namespace
	} else if namespace != "" {
		return "", fmt.Errorf("%s %s is not in a namespace, but says %s", kindName, name, namespace)
	}
	base += "/" + k.Name
	if name != "" {
		base += "/" + name
	}
	return base, nil
}

func (s *Server) kind(ctx context.Context, base, apiVersion, kindName string) (kind, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.discovery[apiVersion][kindName]; ok {
		return k, nil
	}
	answer, err := s.Do(ctx, http.MethodGet, base, "", nil)
	if err == nil {
		err = answer.Err()
	}
	if err != nil {
		return kind{}, fmt.Errorf("ask for the kinds of %s: %w", apiVersion, err)
	}
	text, err := json.Marshal(answer.Body["resources"])
	var kinds []kind
	if err == nil {
		err = json.Unmarshal(text, &kinds)
	}
	if err != nil {
		return kind{}, fmt.Errorf("read the kinds of %s: %w", apiVersion, err)
	}
	known := map[string]kind{}
	for _, k := range kinds {
		if !strings.Contains(k.Name, "/") { // others are subresources
			known[k.Kind] = k
		}
	}
	s.discovery[apiVersion] = known
	k, ok := known[kindName]
	if !ok {
		return kind{}, fmt.Errorf("the API server has no kind %s in %s", kindName, apiVersion)
	}
	return k, nil
}

// Apply applies the object on the server's side as manager, and refuses fields that the server does not know.
func (s *Server) Apply(ctx context.Context, manager string, object map[string]any) (Response, error) {
	apiVersion, _ := object["apiVersion"].(string)
	kindName, _ := object["kind"].(string)
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	namespace, _ := metadata["namespace"].(string)
	if name == "" {
		return Response{}, fmt.Errorf("an object of kind %s has no name", kindName)
	}
	path, err := s.Path(ctx, apiVersion, kindName, namespace, name)
	if err != nil {
		return Response{}, err
	}
	return s.Do(ctx, http.MethodPatch, path+"?fieldManager="+manager+"&fieldValidation=Strict", "application/apply-patch+yaml", object)
}
