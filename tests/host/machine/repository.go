package machine

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/stretchr/testify/require"
)

var (
	//go:embed debian/postinst
	postinst string
	//go:embed debian/prerm
	prerm string
	//go:embed debian/postrm
	postrm string
	//go:embed units/unit.tmpl
	unitTemplate string
)

// FalcoVersions are the versions of the stand-in package that a Repository holds.
var FalcoVersions = []string{"0.40.0", "0.44.1"}

// Repository serves two apt repositories: Falco's, signed, and a distribution's, with what a small machine lacks.
type Repository struct {
	// URL, KeyURL and Fingerprint are of Falco's.
	URL, KeyURL, Fingerprint string
	// OtherKeyURL serves a key that is not the repository's.
	OtherKeyURL string
	// DistributionURL is the distribution's; its lists are not signed.
	DistributionURL string

	mu       sync.Mutex
	requests []string
	before   func(path string)
}

// archive is what the repositories serve, by path; the same for all tests of a process.
type archive struct {
	files       map[string][]byte
	fingerprint string
}

// NewRepository starts a repository. It ends with the test.
func NewRepository(t testing.TB) *Repository {
	t.Helper()
	a, err := buildArchive()
	require.NoError(t, err, "build the packages")
	r := &Repository{Fingerprint: a.fingerprint}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, q.URL.Path)
		before := r.before
		r.mu.Unlock()
		if before != nil {
			before(q.URL.Path)
		}
		content, ok := a.files[q.URL.Path]
		if !ok {
			http.NotFound(w, q)
			return
		}
		http.ServeContent(w, q, "", time.Unix(1767225600, 0), bytes.NewReader(content))
	}))
	t.Cleanup(server.Close)
	r.URL, r.DistributionURL = server.URL+"/falco", server.URL+"/debian"
	r.KeyURL, r.OtherKeyURL = server.URL+"/key.asc", server.URL+"/other.asc"
	return r
}

// Requests lists the paths that were asked for.
func (r *Repository) Requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.requests...)
}

// Before has f called with the path of each request before it is answered; nil ends that.
func (r *Repository) Before(f func(path string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = f
}

// Attach gives a machine the distribution's repository, as an installed Debian has one, with its lists read.
func (r *Repository) Attach(t testing.TB, m *Machine) {
	t.Helper()
	m.Write(t, "/etc/apt/sources.list", fmt.Sprintf("deb [trusted=yes] %s stable main\n", r.DistributionURL))
	m.MustRun(t, "apt-get -qq update")
}

// InstallFalco installs Falco on a machine as its administrator would have, with the services that follow from it. The
// port is that of its webserver: all machines share one loopback device.
func (r *Repository) InstallFalco(t testing.TB, m *Machine, version string, port int) {
	t.Helper()
	a, err := buildArchive()
	require.NoError(t, err)
	content := a.files["/falco/pool/falco_"+version+".deb"]
	require.NotEmpty(t, content)
	m.Write(t, "/tmp/falco.deb", string(content))
	m.MustRun(t, "FALCO_FRONTEND=noninteractive FALCO_DRIVER_CHOICE=modern_ebpf dpkg -i /tmp/falco.deb && rm /tmp/falco.deb")
	m.MustRun(t, fmt.Sprintf("sed -i 's/listen_port: .*/listen_port: %d/' /etc/falco/falco.yaml && systemctl restart falco-modern-bpf.service", port))
}

var buildArchive = sync.OnceValues(func() (*archive, error) {
	entity, err := openpgp.NewEntity("Stand-in of Falco's packages", "", "packages@example.invalid", nil)
	if err != nil {
		return nil, err
	}
	other, err := openpgp.NewEntity("Somebody else", "", "else@example.invalid", nil)
	if err != nil {
		return nil, err
	}
	a := &archive{files: map[string][]byte{}, fingerprint: strings.ToUpper(hex.EncodeToString(entity.PrimaryKey.Fingerprint))}
	// The real key file has held two keys at once; only the pinned one may reach the keyring.
	if a.files["/key.asc"], err = armored(other, entity); err != nil {
		return nil, err
	}
	if a.files["/other.asc"], err = armored(other); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "packages")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	falcos := map[string][]byte{}
	for _, version := range FalcoVersions {
		if falcos["pool/falco_"+version+".deb"], err = buildFalco(filepath.Join(dir, version), version); err != nil {
			return nil, err
		}
	}
	if err := a.add("/falco", falcos, entity); err != nil {
		return nil, err
	}
	logrotate, err := buildDeb(filepath.Join(dir, "logrotate"), "Package: logrotate\nVersion: 3.21.0-1\nArchitecture: all\nMaintainer: Stand-in <nobody@example.invalid>\nDescription: stand-in\n", nil)
	if err != nil {
		return nil, err
	}
	return a, a.add("/debian", map[string][]byte{"pool/logrotate.deb": logrotate}, nil)
})

func armored(entities ...*openpgp.Entity) ([]byte, error) {
	var out bytes.Buffer
	w, err := armor.Encode(&out, openpgp.PublicKeyType, nil)
	if err != nil {
		return nil, err
	}
	for _, e := range entities {
		if err := e.Serialize(w); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// add makes a repository of packages below a path: the packages, their list, and the signed release.
func (a *archive) add(base string, packages map[string][]byte, signer *openpgp.Entity) error {
	var list bytes.Buffer
	names := make([]string, 0, len(packages))
	for name := range packages {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		a.files[base+"/"+name] = packages[name]
		control, err := controlOf(packages[name])
		if err != nil {
			return err
		}
		fmt.Fprintf(&list, "%s\nFilename: %s\nSize: %d\nSHA256: %x\n\n", strings.TrimSpace(control), name, len(packages[name]), sha256.Sum256(packages[name]))
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(list.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	var release bytes.Buffer
	fmt.Fprintf(&release, "Origin: stand-in\nSuite: stable\nCodename: stable\nArchitectures: %s all\nComponents: main\nDate: %s\nSHA256:\n",
		runtime.GOARCH, time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"))
	for name, content := range map[string][]byte{"Packages": list.Bytes(), "Packages.gz": zipped.Bytes()} {
		path := "main/binary-" + runtime.GOARCH + "/" + name
		a.files[base+"/dists/stable/"+path] = content
		fmt.Fprintf(&release, " %x %d %s\n", sha256.Sum256(content), len(content), path)
	}
	if signer == nil {
		a.files[base+"/dists/stable/Release"] = release.Bytes()
		return nil
	}
	var signed bytes.Buffer
	w, err := clearsign.Encode(&signed, signer.PrivateKey, nil)
	if err != nil {
		return err
	}
	if _, err := w.Write(release.Bytes()); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	signed.WriteByte('\n')
	a.files[base+"/dists/stable/InRelease"] = signed.Bytes()
	return nil
}

func controlOf(deb []byte) (string, error) {
	file, err := os.CreateTemp("", "*.deb")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(file.Name()) }()
	if _, err := file.Write(deb); err != nil {
		return "", err
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	out, err := exec.Command("dpkg-deb", "-f", file.Name()).Output() //nolint:gosec // a package that was just built
	return string(out), err
}

// buildFalco makes the stand-in package: the real one's files, units and maintainer scripts, as far as steps touch
// them.
func buildFalco(dir, version string) ([]byte, error) {
	files := map[string]string{
		"/etc/falco/falco.yaml": `# Stand-in of Falco's own configuration.
config_files:
  - /etc/falco/config.d
watch_config_files: true
rules_files:
  - /etc/falco/falco_rules.yaml
  - /etc/falco/falco_rules.local.yaml
  - /etc/falco/rules.d
engine:
  kind: modern_ebpf
stdout_output:
  enabled: true
syslog_output:
  enabled: true
file_output:
  enabled: false
  filename: ./events.txt
webserver:
  enabled: true
  listen_port: 8765
  listen_address: 127.0.0.1
  prometheus_metrics_enabled: false
metrics:
  enabled: false
`,
		"/etc/falco/falcoctl.yaml":          "artifact:\n  follow:\n    refs:\n    - falco-rules:3\n",
		"/etc/falco/falco_rules.yaml":       "- macro: spawned_process\n  condition: (evt.type in (execve, execveat))\n- list: shell_binaries\n  items: [bash, sh]\n",
		"/etc/falco/falco_rules.local.yaml": "# Your custom rules!\n",
		"/usr/share/falco/standin-version":  version + "\n",
		"DEBIAN/postinst":                   postinst,
		"DEBIAN/prerm":                      prerm,
		"DEBIAN/postrm":                     postrm,
		"DEBIAN/conffiles":                  "/etc/falco/falco.yaml\n/etc/falco/falcoctl.yaml\n/etc/falco/falco_rules.local.yaml\n",
	}
	tmpl, err := template.New("unit").Parse(unitTemplate)
	if err != nil {
		return nil, err
	}
	for name, command := range map[string]string{
		"falco-modern-bpf": "/usr/bin/falco -o engine.kind=modern_ebpf", "falco-kmod": "/usr/bin/falco -o engine.kind=modern_ebpf",
		"falco-custom": "/usr/bin/falco", "falcoctl-artifact-follow": "/usr/bin/falcoctl artifact follow",
	} {
		unit := struct{ Name, Wants, Exec, Alias string }{name, "falcoctl-artifact-follow.service", command, "falco.service"}
		if name == "falcoctl-artifact-follow" {
			unit.Wants, unit.Alias = "", ""
		}
		var out bytes.Buffer
		if err := tmpl.Execute(&out, unit); err != nil {
			return nil, err
		}
		files["/usr/lib/systemd/system/"+name+".service"] = out.String()
	}
	for _, folder := range []string{"/etc/falco/config.d", "/etc/falco/rules.d", "/usr/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil { //nolint:gosec // the modes of the package's folders
			return nil, err
		}
	}
	for _, name := range []string{"falco", "falcoctl"} {
		if err := os.Symlink("/usr/local/lib/standin/standin", filepath.Join(dir, "usr/bin", name)); err != nil {
			return nil, err
		}
	}
	return buildDeb(dir, fmt.Sprintf("Package: falco\nVersion: %s\nArchitecture: %s\nMaintainer: Stand-in <nobody@example.invalid>\nDescription: stand-in\n",
		version, runtime.GOARCH), files)
}

func buildDeb(dir, control string, files map[string]string) ([]byte, error) {
	all := map[string]string{"DEBIAN/control": control}
	maps.Copy(all, files)
	for name, content := range all {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the modes of the package's folders
			return nil, err
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(content, "#!") {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			return nil, err
		}
	}
	//nolint:gosec // a folder of our own
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Zgzip", "-b", dir, dir+".deb").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("dpkg-deb: %w: %s", err, out)
	}
	return os.ReadFile(dir + ".deb")
}
