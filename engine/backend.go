package engine

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"gopkg.in/yaml.v3"
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

// OpenBackend takes the user's backend if there is one: PULUMI_BACKEND_URL, PULUMI_ACCESS_TOKEN, a backend in Pulumi.yaml
// or a login. Otherwise the state is kept in dir/.state, encrypted with a passphrase that is made once.
func OpenBackend(dir, stack string) (*Backend, error) {
	has, err := userBackend(dir)
	if err != nil {
		return nil, err
	}
	if has {
		return &Backend{WorkDir: dir, dir: dir, stack: stack}, nil
	}
	b := &Backend{Own: true, dir: dir, stack: stack, WorkDir: filepath.Join(dir, stateDir, stack, "project")}
	if err := os.MkdirAll(b.WorkDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the state: %w", err)
	}
	// Without metadata=skip each file has a second one beside it that is not written at one go: an engine killed meanwhile
	// leaves a state that no engine reads ("failed to load checkpoint: EOF").
	b.Environment = map[string]string{"PULUMI_BACKEND_URL": "file://" + filepath.Join(dir, stateDir) + "?metadata=skip"}
	if os.Getenv("PULUMI_CONFIG_PASSPHRASE") == "" && os.Getenv("PULUMI_CONFIG_PASSPHRASE_FILE") == "" {
		file, err := passphraseFile(dir)
		if err != nil {
			return nil, err
		}
		b.Environment["PULUMI_CONFIG_PASSPHRASE_FILE"] = file
	}
	return b, b.copyProject()
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
	text, err := os.ReadFile(filepath.Join(dir, "Pulumi.yaml"))
	if err != nil {
		return false, fmt.Errorf("read the project: %w", err)
	}
	if err := yaml.Unmarshal(text, &project); err != nil {
		return false, fmt.Errorf("read Pulumi.yaml: %w", err)
	}
	if project.Backend.URL != "" {
		return true, nil
	}
	home := os.Getenv("PULUMI_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return false, nil //nolint:nilerr // no home, so no login either
		}
		home = filepath.Join(user, ".pulumi")
	}
	text, err = os.ReadFile(filepath.Join(home, "credentials.json"))
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

// passphraseFile makes the passphrase once; who loses it loses the secrets in the state.
func passphraseFile(dir string) (string, error) {
	file := filepath.Join(dir, stateDir, "passphrase")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	random := make([]byte, 24)
	if _, err := rand.Read(random); err != nil {
		return "", fmt.Errorf("make a passphrase: %w", err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return file, nil // another run was quicker
	}
	if err != nil {
		return "", fmt.Errorf("keep the passphrase: %w", err)
	}
	_, err = f.WriteString(hex.EncodeToString(random))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("keep the passphrase: %w", err)
	}
	return file, nil
}

var saltLine = regexp.MustCompile(`(?m)^encryptionsalt: .*$`)

// copyProject puts the project file and the stack's settings where the engine runs, so that the salt which the engine
// adds to the settings of a first-time user does not change a file under version control.
func (b *Backend) copyProject() error {
	project, err := os.ReadFile(filepath.Join(b.dir, "Pulumi.yaml"))
	if err != nil {
		return fmt.Errorf("read the project: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.WorkDir, "Pulumi.yaml"), project, 0o600); err != nil {
		return fmt.Errorf("copy the project: %w", err)
	}
	name := "Pulumi." + b.stack + ".yaml"
	settings, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the settings of stack %s: %w", b.stack, err)
	}
	target := filepath.Join(b.WorkDir, name)
	if !saltLine.Match(settings) {
		if old, err := os.ReadFile(target); err == nil {
			if salt := saltLine.Find(old); salt != nil {
				settings = append(append(settings, '\n'), salt...)
				settings = append(settings, '\n')
			}
		}
	}
	if err := os.WriteFile(target, settings, 0o600); err != nil {
		return fmt.Errorf("copy the settings of stack %s: %w", b.stack, err)
	}
	return nil
}
