package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sort"
	"strings"

	"spire-falco/internal/lazyregexp"
)

// Defaults of a workload, filled in where its declaration leaves them out.
const (
	defaultNamespace = "mtls"
	// DefaultWorkloadSocketPath is where the SPIFFE CSI driver's volume shows the agent's socket inside a container.
	DefaultWorkloadSocketPath = "/spiffe-workload-api/api.sock"
)

var (
	envName     = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)
	pinnedImage = lazyregexp.New(`(:[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$`)
)

func (l *loader) workloads() []Workload {
	var raws []json.RawMessage
	if err := json.Unmarshal([]byte(l.raw("workloads")), &raws); err != nil {
		l.problem("workloads", l.raw("workloads"), "must be a list of objects")
		return nil
	}
	ws := make([]Workload, len(raws))
	broken := false // then what one workload says of another cannot be judged
	first := map[string]int{}
	for i, raw := range raws {
		at := fmt.Sprintf("workloads[%d]", i)
		w := &ws[i]
		if !l.decodeObject(at, raw, w) {
			broken = true
			continue
		}
		l.workload(at, w)
		if j, taken := first[w.Name]; taken {
			l.problem(at+".name", w.Name, fmt.Sprintf("is taken by workloads[%d]; names must be unique", j))
		} else {
			first[w.Name] = i
		}
	}
	if broken {
		return ws
	}
	for i, w := range ws {
		for j, peer := range w.Peers {
			at := fmt.Sprintf("workloads[%d].peers[%d]", i, j)
			switch _, known := first[peer]; {
			case peer == w.Name:
				l.problem(at, peer, "must be another workload")
			case !known:
				l.problem(at, peer, "must be the name of a declared workload")
			}
		}
		if len(w.Peers) > 0 && w.Port == 0 {
			l.problem(fmt.Sprintf("workloads[%d].peers", i), strings.Join(w.Peers, ", "), "needs a port for them to connect to")
		}
	}
	for i, w := range ws {
		if w.Image == "" && !authorises(w, ws) {
			l.problem(fmt.Sprintf("workloads[%d]", i), w.Name, "runs the project's own image and would authorise nobody: give it peers, make it a peer, or set AUTHORIZED_SPIFFE_IDS, AUTHORIZED_PATH_PREFIXES or AUTHORIZED_TRUST_DOMAINS in its env")
		}
	}
	return ws
}

// authorises tells whether the program of w gets anybody to authorise: it exits at once without.
func authorises(w Workload, all []Workload) bool {
	for name := range w.Env {
		if strings.HasPrefix(name, "AUTHORIZED_") {
			return true
		}
	}
	return len(w.Peers) > 0 || len(Servers(w, all)) > 0
}

// DNSPort is where the cluster's DNS listens, which a workload that has servers must ask.
const DNSPort = 53

// Servers lists the workloads that have w as a peer: those that it may connect to.
func Servers(w Workload, all []Workload) []Workload {
	var servers []Workload
	for _, s := range all {
		if slices.Contains(s.Peers, w.Name) {
			servers = append(servers, s)
		}
	}
	return servers
}

func (l *loader) workload(at string, w *Workload) {
	if w.Namespace == "" {
		w.Namespace = defaultNamespace
	}
	if w.Executable == "" {
		w.Executable = "/" + w.Name
	}
	if w.Replicas == 0 {
		w.Replicas = 1
	}
	if w.SocketPath == "" {
		w.SocketPath = DefaultWorkloadSocketPath
	}
	if w.Health == nil && w.Image == "" && w.Port != 0 {
		w.Health = []string{w.Executable, "health"}
	}
	check := func(ok bool, field, value, want string) {
		if !ok {
			l.problem(at+"."+field, value, want)
		}
	}
	check(dnsLabel.MatchString(w.Name), "name", w.Name, "must be "+wantDNSLabel)
	check(dnsLabel.MatchString(w.Namespace), "namespace", w.Namespace, "must be "+wantDNSLabel)
	check(w.Image == "" || ValidImage(w.Image) && pinnedImage.MatchString(w.Image) && !strings.HasSuffix(w.Image, ":latest"), "image", w.Image,
		"must have a fixed tag (not latest) or a sha256 digest, or be left out for the image that the project builds")
	check(ValidPath(w.Executable), "executable", w.Executable, "must be the path of the program in the image, "+WantPath)
	check(w.Port >= 0 && w.Port <= 65535, "port", fmt.Sprint(w.Port), "must be a port from 1 to 65535, or be left out for a workload that does not listen")
	check(w.Replicas >= 1 && w.Replicas <= 100, "replicas", fmt.Sprint(w.Replicas), "must be a whole number from 1 to 100")
	check(ValidPath(w.SocketPath) && strings.Count(w.SocketPath, "/") >= 2, "socketPath", w.SocketPath, "must be an absolute path of a socket in a folder of its own, such as "+DefaultWorkloadSocketPath)
	check(len(w.SocketPath) <= maxSocketPath, "socketPath", w.SocketPath, fmt.Sprintf("must have at most %d bytes, as the kernel allows for a socket; it has %d", maxSocketPath, len(w.SocketPath)))
	for i, p := range w.Children {
		check(ValidPath(p), fmt.Sprintf("children[%d]", i), p, "must be the path of an executable in the image, "+WantPath)
	}
	for i, p := range w.CertificateDirs {
		check(ValidPath(p), fmt.Sprintf("certificateDirs[%d]", i), p, "must be the path of a folder in the container, "+WantPath)
	}
	for i, a := range w.Health {
		field := fmt.Sprintf("health[%d]", i)
		if i == 0 {
			check(ValidPath(a), field, a, "must be the path of the health command in the image, "+WantPath)
		} else {
			check(ValidArgument(a) && ValidArgument(strings.Join(w.Health[1:], " ")), field, a, "must be an argument "+WantArgument)
		}
	}
	names := make([]string, 0, len(w.Env))
	for name := range w.Env {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		check(envName.MatchString(name), "env", name, "must have names of letters, digits and underscores")
	}
	for i := range w.Egress {
		e := &w.Egress[i]
		field := fmt.Sprintf("egress[%d]", i)
		_, err := netip.ParsePrefix(e.CIDR)
		check(err == nil, field+".cidr", e.CIDR, "must be a CIDR such as 10.0.0.0/8; names are not possible, neither NetworkPolicy nor Falco can hold to them")
		check(e.Port >= 1 && e.Port <= 65535, field+".port", fmt.Sprint(e.Port), "must be a port from 1 to 65535")
		check(e.Protocol == "tcp" || e.Protocol == "udp", field+".protocol", e.Protocol, "must be tcp or udp")
	}
}

// decodeObject fills target from raw and reports every key that target does not have, and every wrong type.
func (l *loader) decodeObject(at string, raw json.RawMessage, target any) bool {
	err := strictJSON(string(raw), target)
	if err == nil {
		return true
	}
	message := err.Error()
	if _, field, ok := strings.Cut(message, "unknown field "); ok {
		field = strings.Trim(field, `"`)
		names := jsonNames(reflect.TypeOf(target).Elem())
		want := "no such field; allowed: " + strings.Join(names, ", ")
		if near := nearestOf(field, names); near != "" {
			want = "no such field; did you mean " + near + "? (allowed: " + strings.Join(names, ", ") + ")"
		}
		l.problem(at+"."+field, "", want)
		return false
	}
	var typeErr *json.UnmarshalTypeError
	if errors.As(err, &typeErr) && typeErr.Field != "" {
		l.problem(at+"."+typeErr.Field, typeErr.Value, "must be of type "+typeErr.Type.String())
		return false
	}
	l.problem(at, string(raw), "must be an object: "+message)
	return false
}

func jsonNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}
