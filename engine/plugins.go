package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"spire-falco/engine/fakeprovider"
)

// pluginHost serves Pulumi's provider plugins.
const pluginHost = "https://get.pulumi.com"

// sdkModules are the Go SDKs whose versions are the versions of the provider plugins.
var sdkModules = map[string]string{
	"kubernetes": "github.com/pulumi/pulumi-kubernetes/sdk/v4",
	"command":    "github.com/pulumi/pulumi-command/sdk",
}

// Plugins makes sure that the provider plugins are there and reports whether they are. It installs those that are missing
// where the network allows; where it does not, real is false and why says so in one line.
func Plugins(ctx context.Context, cli, dir string, log io.Writer) (real bool, why string, err error) {
	if os.Getenv("PULUMI_DEBUG_PROVIDERS") != "" {
		return true, "", nil // the user's own providers
	}
	var missing [][2]string
	for _, name := range fakeprovider.Packages {
		version, err := sdkVersion(dir, sdkModules[name])
		if err != nil {
			return false, "", err
		}
		if !installed(name, version) {
			missing = append(missing, [2]string{name, version})
		}
	}
	if len(missing) == 0 {
		return true, "", nil
	}
	if err := reachable(ctx); err != nil {
		return false, fmt.Sprintf("the provider plugins are not installed and %s cannot be reached", pluginHost), nil //nolint:nilerr // told in why
	}
	for _, m := range missing {
		fmt.Fprintf(log, "installing the Pulumi provider %s %s\n", m[0], m[1])
		cmd := exec.CommandContext(ctx, cli, "plugin", "install", "resource", m[0], m[1]) //nolint:gosec // fixed arguments
		cmd.Env = append(os.Environ(), "PULUMI_SKIP_UPDATE_CHECK=true")
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Run(); err != nil {
			return false, fmt.Sprintf("the provider plugin %s %s could not be installed", m[0], m[1]), nil //nolint:nilerr // told in why
		}
	}
	return true, "", nil
}

func reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, pluginHost, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", pluginHost, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", pluginHost, err)
	}
	return response.Body.Close()
}

// installed looks for the plugin in Pulumi's own folder.
func installed(name, version string) bool {
	home := os.Getenv("PULUMI_HOME")
	if home == "" {
		user, err := os.UserHomeDir()
		if err != nil {
			return false
		}
		home = filepath.Join(user, ".pulumi")
	}
	binary := "pulumi-resource-" + name
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	_, err := os.Stat(filepath.Join(home, "plugins", "resource-"+name+"-"+version, binary))
	return err == nil
}

// StandIn starts stand-ins for the provider plugins, in the versions that the program's SDKs want.
func StandIn(dir string) (*fakeprovider.Providers, error) {
	versions := map[string]string{}
	for name, module := range sdkModules {
		version, err := sdkVersion(dir, module)
		if err != nil {
			return nil, err
		}
		versions[name] = strings.TrimPrefix(version, "v")
	}
	p, err := fakeprovider.Start(versions)
	if err != nil {
		return nil, fmt.Errorf("start the stand-ins for the provider plugins: %w", err)
	}
	return p, nil
}

// sdkVersion is the version of an SDK in this program, or in the project's go.mod where the build does not say (tests).
func sdkVersion(dir, module string) (string, error) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == module {
				return d.Version, nil
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("find the version of %s: %w", module, err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == module {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("go.mod does not require %s", module)
}
