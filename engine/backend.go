package engine

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"

	"gopkg.in/yaml.v3"

	"spire-falco/config"
	"spire-falco/internal/safefile"
)

// Backend is where Pulumi keeps the state, and how its secrets are encrypted.
type Backend struct {
	// Own tells that the user has no backend, so that the project keeps a state in .state.
	Own bool
	// WorkDir is the folder that the engine runs in.
	WorkDir string
	// Environment for the engine; empty for the user's own backend.
	Environment map[string]string

	dir, stack string
}

// stateDir is the folder of the project's own state.
const stateDir = ".state"

// textLimit bounds what is read of settings, credentials and the like: many times what one has.
const textLimit = 1 << 20

// Environment variables that name the passphrase of the state.
const (
	passphraseVariable     = "PULUMI_CONFIG_PASSPHRASE"      //nolint:gosec // the name of a variable, no credential
	passphraseFileVariable = "PULUMI_CONFIG_PASSPHRASE_FILE" //nolint:gosec // the name of a variable, no credential
)

// OpenBackend takes the user's backend if there is one: PULUMI_BACKEND_URL, PULUMI_ACCESS_TOKEN, a backend in Pulumi.yaml
// or a login. Otherwise the state is kept in dir/.state, which only its owner can read, encrypted with a passphrase that
// is created once.
func OpenBackend(dir, stack string) (*Backend, error) {
	if err := config.CheckStackName(stack); err != nil {
		return nil, err //nolint:wrapcheck // it names the flag
	}
	has, err := userBackend(dir)
	if err != nil {
		return nil, err
	}
	if has {
		return &Backend{WorkDir: dir, dir: dir, stack: stack}, nil
	}
	b := &Backend{Own: true, dir: dir, stack: stack, WorkDir: filepath.Join(dir, stateDir, stack, "project")}
	if err := os.MkdirAll(b.WorkDir, 0o700); err != nil {
		return nil, fmt.Errorf("create the folder of the state: %w (the project's folder must be writable: take a copy of one that is not)", err)
	}
	if err := keepPrivate(filepath.Join(dir, stateDir)); err != nil {
		return nil, err
	}
	// Without metadata=skip each file has a second one beside it that is not written at one go: an engine killed meanwhile
	// leaves a state that no engine reads ("failed to load checkpoint: EOF").
	b.Environment = map[string]string{"PULUMI_BACKEND_URL": "file://" + filepath.Join(dir, stateDir) + "?metadata=skip"}
	given, err := givenPassphrase()
	if err != nil {
		return nil, err
	}
	if !given {
		file, err := b.passphraseFile()
		if err != nil {
			return nil, err
		}
		b.Environment[passphraseFileVariable] = file
	}
	return b, b.copyProject()
}

// EnsureHome gives the Pulumi CLI a folder of its own in dir/.state where the user's home cannot have one, as that of a
// service account. The CLI takes the home of the user's entry in the system, not HOME.
func EnsureHome(dir string) error {
	home := ""
	if self, err := user.Current(); err == nil {
		home = self.HomeDir
	}
	return ensureHome(dir, home)
}

func ensureHome(dir, home string) error {
	if os.Getenv(homeVariable) != "" || filepath.IsAbs(home) && os.MkdirAll(filepath.Join(home, ".pulumi"), 0o700) == nil {
		return nil
	}
	if err := os.Setenv(homeVariable, filepath.Join(dir, stateDir, "pulumi")); err != nil {
		return fmt.Errorf("set %s: %w", homeVariable, err)
	}
	return nil
}

// homeVariable names the folder in which the CLI keeps logins and plugins.
const homeVariable = "PULUMI_HOME"

// keepPrivate takes the folder away from everybody but its owner: the state has the stack's secrets, if encrypted, and a
// kubeconfig.
func keepPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at the folder of the state: %w", err)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	if err := os.Chmod(path, info.Mode().Perm()&0o700); err != nil {
		return fmt.Errorf("%s can be read or written by others (mode %#o), and that cannot be changed: %w; run, as its owner: chmod 700 %[1]s", path, info.Mode().Perm(), err)
	}
	return nil
}

func userBackend(dir string) (bool, error) {
	for _, v := range []string{"PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN"} {
		if os.Getenv(v) != "" {
			return true, nil
		}
	}
	var project struct {
		Backend struct {
			URL string `yaml:"url"`
		} `yaml:"backend"`
	}
	text, err := safefile.Read(filepath.Join(dir, "Pulumi.yaml"), textLimit)
	if err != nil {
		return false, fmt.Errorf("read the project: %w", err)
	}
	if err := yaml.Unmarshal(text, &project); err != nil {
		return false, fmt.Errorf("read Pulumi.yaml: %w", err)
	}
	if project.Backend.URL != "" {
		return true, nil
	}
	home := os.Getenv(homeVariable)
	if home == "" {
		own, err := os.UserHomeDir()
		if err != nil {
			return false, nil //nolint:nilerr // no home, so no login either
		}
		home = filepath.Join(own, ".pulumi")
	}
	text, err = safefile.Read(filepath.Join(home, "credentials.json"), textLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("see whether you are logged in to Pulumi: %w", err)
	}
	var login struct {
		Current string `json:"current"`
	}
	if err := json.Unmarshal(text, &login); err != nil {
		return false, fmt.Errorf("see whether you are logged in to Pulumi: %s: %w", filepath.Join(home, "credentials.json"), err)
	}
	return login.Current != "", nil
}

// givenPassphrase tells whether the environment has a passphrase. An empty one would encrypt the state with nothing.
func givenPassphrase() (bool, error) {
	if text, set := os.LookupEnv(passphraseVariable); set {
		if text == "" {
			return false, fmt.Errorf("the environment variable %s is set and empty, so Pulumi would encrypt the state with an empty passphrase: unset it, or give it a value", passphraseVariable)
		}
		return true, nil
	}
	file := os.Getenv(passphraseFileVariable)
	if file == "" {
		return false, nil
	}
	if err := checkPassphrase(file); err != nil {
		return false, fmt.Errorf("the environment variable %s names a file that cannot be used: %w", passphraseFileVariable, err)
	}
	return true, nil
}

// passphraseFile creates the passphrase of the state when nothing can have been encrypted yet. Losing it makes the
// secrets in the state unreadable, so whatever is there is never replaced.
func (b *Backend) passphraseFile() (string, error) {
	file := filepath.Join(b.dir, stateDir, "passphrase")
	_, err := os.Lstat(file) // a link that leads nowhere is there, too
	if errors.Is(err, fs.ErrNotExist) {
		err = b.createPassphrase(file)
	}
	if err == nil {
		err = checkPassphrase(file)
	}
	if err != nil {
		return "", fmt.Errorf("the passphrase of the state: %w", err)
	}
	return file, nil
}

func (b *Backend) createPassphrase(file string) error {
	encrypted, err := b.encrypted()
	if err != nil {
		return err
	}
	if encrypted != "" {
		return fmt.Errorf("%s is missing, and %s is encrypted with it: put it back, or give it in %s or %s; to begin again without what is encrypted, move that away",
			file, encrypted, passphraseVariable, passphraseFileVariable)
	}
	random := make([]byte, 24)
	if _, err := rand.Read(random); err != nil {
		return fmt.Errorf("create it: %w", err)
	}
	err = safefile.Create(file, []byte(hex.EncodeToString(random)), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // another run was quicker
	}
	return err //nolint:wrapcheck // it names the file
}

// encrypted names a file of the stack's that is encrypted with the passphrase; empty if there is none.
func (b *Backend) encrypted() (string, error) {
	for _, file := range []string{filepath.Join(b.dir, b.settingsFile()), filepath.Join(b.WorkDir, b.settingsFile())} {
		text, err := safefile.Read(file, textLimit)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for what is encrypted: %w", err)
		}
		if saltLine.Match(text) {
			return file, nil
		}
	}
	found := ""
	stacks := filepath.Join(b.dir, stateDir, ".pulumi", "stacks")
	err := filepath.WalkDir(stacks, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found = path
			return fs.SkipAll
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for what is encrypted: %w", err)
	}
	return found, nil
}

// passphraseLimit is the largest passphrase that is read, in bytes.
const passphraseLimit = 4 << 10

// checkPassphrase reads a passphrase as the engine will. Only its owner may.
func checkPassphrase(file string) error {
	text, err := safefile.Read(file, passphraseLimit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if target, linkErr := os.Readlink(file); linkErr == nil {
			return fmt.Errorf("%s is a symbolic link to %s, which is not there: put that file back", file, target)
		}
		return err //nolint:wrapcheck // it names the file
	case err != nil:
		return fmt.Errorf("%w: make it readable, or give the passphrase in %s", err, passphraseVariable)
	case len(bytes.TrimSpace(text)) == 0:
		return fmt.Errorf("%s is empty, as a full disk leaves it: put the passphrase back; if nothing was encrypted yet, remove the file and run this again", file)
	}
	info, err := os.Stat(file)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		if err = os.Chmod(file, 0o600); err != nil {
			return fmt.Errorf("%s can be read by others (mode %#o), and that cannot be changed: %w; run, as its owner: chmod 600 %[1]s", file, info.Mode().Perm(), err)
		}
	}
	return err //nolint:wrapcheck // it names the file
}

var saltLine = regexp.MustCompile(`(?m)^encryptionsalt: .*$`)

// settingsFile is the name of the stack's settings.
func (b *Backend) settingsFile() string { return "Pulumi." + b.stack + ".yaml" }

// copyProject puts the project file and the stack's settings where the engine runs, so that the salt which the engine
// adds to the settings of a first-time user does not change a file under version control.
func (b *Backend) copyProject() error {
	project, err := safefile.Read(filepath.Join(b.dir, "Pulumi.yaml"), textLimit)
	if err != nil {
		return fmt.Errorf("read the project: %w", err)
	}
	if err := update(filepath.Join(b.WorkDir, "Pulumi.yaml"), project); err != nil {
		return fmt.Errorf("copy the project: %w", err)
	}
	settings, err := safefile.Read(filepath.Join(b.dir, b.settingsFile()), textLimit)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the settings of stack %s: %w", b.stack, err)
	}
	target := filepath.Join(b.WorkDir, b.settingsFile())
	if !saltLine.Match(settings) {
		old, err := safefile.Read(target, textLimit)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // its salt must not be lost
			return fmt.Errorf("read the salt of stack %s: %w", b.stack, err)
		}
		if salt := saltLine.Find(old); salt != nil {
			settings = append(append(settings, '\n'), salt...)
			settings = append(settings, '\n')
		}
	}
	if err := update(target, settings); err != nil {
		return fmt.Errorf("copy the settings of stack %s: %w", b.stack, err)
	}
	return nil
}

// update writes a file unless it has the content already, so that most runs need no room for it.
func update(path string, content []byte) error {
	if old, err := safefile.Read(path, textLimit); err == nil && bytes.Equal(old, content) {
		return nil
	}
	return safefile.Write(path, content, 0o600) //nolint:wrapcheck // it names the file
}
