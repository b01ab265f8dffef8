package host

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"spire-falco/falco"
	"spire-falco/tests/host/machine"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	goodRules = "- list: watched_paths\n  items: [/tmp/spire-agent/public/api.sock]\n" +
		"- rule: Socket opened\n  desc: d\n  condition: evt.type = open and fd.name in (watched_paths)\n  output: o\n  priority: CRITICAL\n"
	otherRules   = "- rule: Socket opened otherwise\n  desc: d\n  condition: evt.type = openat\n  output: o\n  priority: WARNING\n"
	refusedRules = "- rule: Socket opened\n  desc: d\n  condition: evt.type = open and no_such_macro\n  output: o\n  priority: CRITICAL\n"
	extraRules   = "- rule: Shell\n  desc: d\n  condition: spawned_process and proc.name in (shell_binaries)\n  output: o\n  priority: NOTICE\n"
)

const alertFile = "/var/log/falco/events.json"

// bench is a machine with a repository and the arguments for it.
type bench struct {
	*machine.Machine
	repo *machine.Repository
	args *Args
}

// port gives each machine a webserver of its own: they share the loopback device.
var port atomic.Int32

func newBench(t *testing.T, o machine.Options) *bench {
	t.Helper()
	m := machine.New(t, o)
	repo := machine.NewRepository(t)
	repo.Attach(t, m)
	return &bench{m, repo, &Args{
		Hosts:            []Host{{Name: "web-1", Address: "192.0.2.1", User: "deploy", PrivateKey: pulumi.String("x"), HostKey: machine.NewHostKey(t)}},
		FalcoVersion:     "0.40.0",
		Rules:            map[string]string{"10-socket.yaml": goodRules, "90-extra.yaml": extraRules},
		RulesBeforeStock: []string{"10-socket.yaml"}, RulesAfterStock: []string{"90-extra.yaml"},
		RulesHash: "hash-1", AgentSocketPath: "/tmp/spire-agent/public/api.sock",
		Output:        Output{Syslog: true, HTTP: "http://127.0.0.1:2801"},
		WebserverPort: 18700 + int(port.Add(1)), StartTimeout: 10,
		Repository: &Repository{URL: repo.URL, Suite: "stable", Component: "main", KeyURL: repo.KeyURL, KeyFingerprint: repo.Fingerprint},
	}}
}

func (b *bench) find(t *testing.T, name string) (line, stdin string) {
	t.Helper()
	require.NoError(t, b.args.Validate())
	a := b.args.withDefaults()
	files, err := payload(a)
	require.NoError(t, err)
	for _, s := range stepsOf("spire-falco/test/web-1", a, &a.Hosts[0], files) {
		if s.name == name {
			return command(name), s.stdin
		}
		if s.remove == name {
			return command(name), s.stdin
		}
	}
	t.Fatalf("no step %s", name)
	return "", ""
}

func (b *bench) step(t *testing.T, user, name string) machine.Result {
	t.Helper()
	line, stdin := b.find(t, name)
	return b.Run(t, user, line, stdin)
}

func (b *bench) must(t *testing.T, steps ...string) {
	t.Helper()
	for _, s := range steps {
		r := b.step(t, "deploy", s)
		require.Zerof(t, r.Code, "step %s: %s%s", s, r.Stdout, r.Stderr)
	}
}

func (b *bench) up(t *testing.T) {
	t.Helper()
	b.must(t, stepCheck, stepBase, stepPackage, stepFalco)
}

// refused runs a step that must fail, and returns its one error line.
func (b *bench) refused(t *testing.T, user, step string) string {
	t.Helper()
	r := b.step(t, user, step)
	require.Equal(t, 1, r.Code, "exit status; %s", r.Stderr)
	var failures []string
	for line := range strings.Lines(r.Stderr) {
		if strings.Contains(line, "error: ") {
			failures = append(failures, strings.TrimSpace(line))
		}
	}
	require.Lenf(t, failures, 1, "one clear error; %s", r.Stderr)
	assert.Contains(t, failures[0], "web-1: error: ")
	return r.Stderr
}

// killed runs a step and kills its whole process group as soon as ready holds.
func (b *bench) killed(t *testing.T, step string, ready func() bool) {
	t.Helper()
	line, stdin := b.find(t, step)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := b.Command(ctx, "root", line)
	c.Stdin = strings.NewReader(stdin)
	require.NoError(t, c.Start())
	require.Eventually(t, ready, 20*time.Second, time.Millisecond, "the step came to where it is to be killed")
	require.NoError(t, syscall.Kill(-c.Process.Pid, syscall.SIGKILL))
	_ = c.Wait()
}

func (b *bench) falcoPID(t *testing.T) string {
	t.Helper()
	return b.Read(t, "/run/standin/state/falco-modern-bpf.service")
}

func TestSteps(t *testing.T) {
	t.Parallel()
	t.Run("first_install_serves_and_removal_leaves_the_machine_as_it_was", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{})
		b.args.Output.File = alertFile
		before := b.Snapshot(t)
		b.up(t)
		assert.Equal(t, goodRules, b.Read(t, falco.RulesDir+"/10-socket.yaml"))
		assert.Contains(t, b.MustRun(t, "apt-mark showhold"), "falco")
		assert.Equal(t, "enabled", strings.TrimSpace(b.MustRun(t, "systemctl is-enabled falco-modern-bpf.service")))
		assert.Equal(t, "active", strings.TrimSpace(b.MustRun(t, "systemctl is-active falco-modern-bpf.service")))
		assert.Contains(t, b.Run(t, "root", "systemctl is-enabled falcoctl-artifact-follow.service", "").Stdout, "masked")
		assert.Contains(t, b.Read(t, "/etc/systemd/system/falco-modern-bpf.service.d/spire-falco.conf"),
			"-r /etc/falco/rules.d/10-socket.yaml -r /etc/falco/falco_rules.yaml -r /etc/falco/falco_rules.local.yaml -r /etc/falco/rules.d/90-extra.yaml\n")
		assert.Contains(t, b.Read(t, "/etc/systemd/system/falco-modern-bpf.service.d/spire-falco.conf"), " -o syscall_event_drops.actions[0]=alert -r ")
		keys := b.MustRun(t, "gpg --homedir /tmp --show-keys --with-colons "+keyringFile)
		assert.Equal(t, 1, strings.Count(keys, "\npub:")+strings.Count(keys[:4], "pub:"), "only the pinned key is in the keyring")
		assert.Contains(t, b.Read(t, sourcesFile), "signed-by="+keyringFile)
		b.Write(t, alertFile, "{}\n")
		b.Write(t, "/var/log/falco/events.json.1", "{}\n")

		b.must(t, stepRemove)
		assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
		b.must(t, stepRemove)
	})

	t.Run("a_second_run_changes_nothing_and_does_not_restart_falco", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{})
		b.up(t)
		before, process := b.Snapshot(t), b.falcoPID(t)
		b.up(t)
		assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
		assert.Equal(t, process, b.falcoPID(t))
	})

	t.Run("a_rule_change_is_loaded_and_a_rule_file_that_went_is_removed", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{})
		b.up(t)
		b.args.Rules = map[string]string{"20-other.yaml": otherRules}
		b.args.RulesBeforeStock, b.args.RulesAfterStock = []string{"20-other.yaml"}, nil
		b.must(t, stepFalco)
		assert.False(t, b.Exists(falco.RulesDir+"/10-socket.yaml"))
		assert.False(t, b.Exists(falco.RulesDir+"/90-extra.yaml"))
		assert.Contains(t, b.MustRun(t, fmt.Sprintf("/usr/lib/apt/apt-helper download-file http://127.0.0.1:%d/metrics /tmp/m >/dev/null && cat /tmp/m", b.args.WebserverPort)), "20-other.yaml")
	})

	t.Run("a_rule_that_falco_refuses_never_goes_live", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{})
		b.up(t)
		before, process := b.Snapshot(t), b.falcoPID(t)
		b.args.Rules = map[string]string{"10-socket.yaml": refusedRules, "90-extra.yaml": extraRules}
		said := b.refused(t, "deploy", stepFalco)
		assert.Contains(t, said, "Falco 0.40.0 refuses the new files; the former ones stay live")
		assert.Contains(t, said, "/etc/falco/rules.d/10-socket.yaml:1:0")
		assert.Contains(t, said, "Undefined macro 'no_such_macro'")
		assert.Equal(t, process, b.falcoPID(t), "Falco was not restarted")
		after := b.Snapshot(t)
		dropLedger(before, after)
		assert.Empty(t, machine.Differences(before, after))
	})

	t.Run("files_that_falco_accepts_but_does_not_start_with_are_given_back", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{})
		b.up(t)
		before := b.Snapshot(t)
		b.Write(t, "/etc/standin/no-probe", "")
		b.args.Rules = map[string]string{"10-socket.yaml": otherRules, "90-extra.yaml": extraRules}
		line, stdin := b.find(t, stepFalco)
		gone := make(chan struct{})
		go func() { // the former files start again
			defer close(gone)
			for !strings.Contains(b.Run(t, "root", "cat /run/standin/journal/falco-modern-bpf.service", "").Stdout, "kernfs_node") {
				time.Sleep(10 * time.Millisecond)
			}
			_ = os.Remove(b.Path("/etc/standin/no-probe"))
		}()
		r := b.Run(t, "deploy", line, stdin)
		<-gone
		assert.Equal(t, 1, r.Code)
		assert.Contains(t, r.Stderr, "falco-modern-bpf.service does not start; giving back the former files")
		assert.Contains(t, r.Stderr, "failed to resolve CO-RE relocation")
		after := b.Snapshot(t)
		dropLedger(before, after)
		assert.Empty(t, machine.Differences(before, after))
		b.args.Rules = map[string]string{"10-socket.yaml": goodRules, "90-extra.yaml": extraRules}
		b.must(t, stepFalco)
	})

	t.Run("a_falco_that_was_there_before_stays_with_its_rules_and_services", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{})
		b.repo.InstallFalco(t, b.Machine, "0.40.0", b.args.WebserverPort)
		b.Write(t, falco.RulesDir+"/own.yaml", otherRules)
		b.Write(t, "/etc/falco/falco_rules.local.yaml", "# mine\n")
		b.MustRun(t, "systemctl restart falco-modern-bpf.service")
		before := b.Snapshot(t)
		b.args.Output.File = alertFile
		b.up(t)
		assert.Contains(t, b.Read(t, "/etc/systemd/system/falco-modern-bpf.service.d/spire-falco.conf"), " -r /etc/falco/rules.d/own.yaml ")
		assert.False(t, b.Exists(sourcesFile), "nothing to install, so no repository")
		assert.NotContains(t, strings.Join(b.repo.Requests(), " "), "falco_0")
		b.must(t, stepRemove)
		assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
	})

	t.Run("another_version_that_others_installed_is_refused_and_left_alone", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{})
		b.repo.InstallFalco(t, b.Machine, "0.44.1", b.args.WebserverPort)
		before := b.Snapshot(t)
		assert.Contains(t, b.refused(t, "deploy", stepCheck), "falco 0.44.1 was installed here by someone else, and the settings ask for 0.40.0")
		assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
	})

	t.Run("a_new_version_replaces_the_one_that_we_installed", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{})
		before := b.Snapshot(t)
		b.up(t)
		b.args.FalcoVersion = "0.44.1"
		b.up(t)
		assert.Contains(t, b.MustRun(t, "falco --version"), "0.44.1")
		b.args.FalcoVersion = "0.40.0"
		b.up(t)
		assert.Contains(t, b.MustRun(t, "falco --version"), "0.40.0")
		b.must(t, stepRemove)
		assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
	})

	t.Run("no_user_of_the_machine_can_hold_up_a_step", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{})
		b.MustRun(t, "chmod 1777 /run/lock")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		c := b.Command(ctx, "nosudo", "exec 9>/run/lock/spire-falco.lock && flock 9; mkdir /run/spire-falco; ln -s /tmp /run/spire-falco; sleep 60")
		require.NoError(t, c.Start())
		defer func() { cancel(); _ = c.Wait() }()
		require.Eventually(t, func() bool {
			return b.Exists("/run/lock/spire-falco.lock") && b.Run(t, "root", "flock -n /run/lock/spire-falco.lock true", "").Code != 0
		}, 20*time.Second, 20*time.Millisecond, "the user has the lock of an earlier version")
		begun := time.Now()
		b.must(t, stepBase, stepRemove)
		assert.Less(t, time.Since(begun), time.Minute)
		assert.Equal(t, "directory 0 700\n", b.MustRun(t, "stat -c '%F %u %a' /run/spire-falco"))
	})

	t.Run("packages_that_others_need_by_now_stay", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{})
		b.args.Output.File = alertFile
		b.up(t)
		b.Write(t, "/tmp/p/DEBIAN/control", "Package: mine\nVersion: 1\nArchitecture: all\nMaintainer: M <m@example.invalid>\nDepends: logrotate\nDescription: d\n")
		b.MustRun(t, "chmod -R go-w /tmp/p && dpkg-deb -b /tmp/p /tmp/mine.deb >/dev/null && dpkg -i /tmp/mine.deb")
		b.must(t, stepRemove)
		packages := b.MustRun(t, "dpkg-query -W -f '${Package}\\n'")
		assert.Contains(t, packages, "logrotate\n")
		assert.NotContains(t, packages, "falco\n")
	})
}

// dropLedger takes the folder of the record out of both: a run that failed may leave notes there.
func dropLedger(snapshots ...map[string]string) {
	for _, s := range snapshots {
		for path := range s {
			if strings.HasPrefix(path, "/var/lib/spire-falco") {
				delete(s, path)
			}
		}
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]func(t *testing.T, b *bench){
		"while_the_package_is_fetched": func(t *testing.T, b *bench) {
			b.must(t, stepCheck, stepBase)
			arrived := make(chan struct{})
			hold := make(chan struct{})
			t.Cleanup(func() { close(hold) })
			b.repo.Before(func(path string) {
				if strings.HasSuffix(path, ".deb") && strings.Contains(path, "falco_") {
					close(arrived)
					<-hold
				}
			})
			b.killed(t, stepPackage, func() bool {
				select {
				case <-arrived:
					return true
				default:
					return false
				}
			})
			b.repo.Before(nil)
		},
		"in_the_package's_own_script": func(t *testing.T, b *bench) {
			b.must(t, stepCheck, stepBase)
			b.Write(t, "/etc/standin/break-postinst", "")
			assert.Contains(t, b.refused(t, "deploy", stepPackage), "apt could not install")
		},
		"between_two_files_of_a_switch": func(t *testing.T, b *bench) {
			b.up(t)
			b.args.Rules = map[string]string{"10-socket.yaml": otherRules, "90-extra.yaml": extraRules}
			b.Write(t, "/etc/standin/slow-start", "")
			b.killed(t, stepFalco, func() bool { return b.Exists("/var/lib/spire-falco/switch") })
			require.NoError(t, os.Remove(b.Path("/etc/standin/slow-start")))
			require.True(t, b.Exists("/var/lib/spire-falco/switch"))
		},
		"while_the_service_starts": func(t *testing.T, b *bench) {
			b.must(t, stepCheck, stepBase, stepPackage)
			b.Write(t, "/etc/standin/slow-start", "")
			b.killed(t, stepFalco, func() bool { return b.Exists("/run/standin/state/falco-modern-bpf.service") })
			require.NoError(t, os.Remove(b.Path("/etc/standin/slow-start")))
		},
	} {
		t.Run(name+"_the_next_run_repairs_it", func(t *testing.T) {
			t.Parallel()
			b := newBench(t, machine.Options{})
			before := b.Snapshot(t)
			cut(t, b)
			b.up(t)
			live := b.Snapshot(t)
			b.up(t)
			assert.Empty(t, machine.Differences(live, b.Snapshot(t)), "nothing was left to repair")
			b.must(t, stepRemove)
			assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
		})
		t.Run(name+"_a_removal_leaves_nothing", func(t *testing.T) {
			t.Parallel()
			b := newBench(t, machine.Options{})
			before := b.Snapshot(t)
			cut(t, b)
			b.must(t, stepRemove)
			assert.Empty(t, machine.Differences(before, b.Snapshot(t)))
		})
	}
}

func TestRefusedAfterAnInterruptedSwitch(t *testing.T) {
	t.Parallel()
	b := newBench(t, machine.Options{})
	b.up(t)
	b.args.Rules = map[string]string{"10-socket.yaml": otherRules, "90-extra.yaml": extraRules}
	b.Write(t, "/etc/standin/slow-start", "")
	b.killed(t, stepFalco, func() bool { return b.Read(t, falco.RulesDir+"/10-socket.yaml") == otherRules })
	require.NoError(t, os.Remove(b.Path("/etc/standin/slow-start")))

	b.args.Rules = map[string]string{"10-socket.yaml": refusedRules, "90-extra.yaml": extraRules}
	b.refused(t, "deploy", stepFalco)
	assert.Equal(t, goodRules, b.Read(t, falco.RulesDir+"/10-socket.yaml"), "the last files that Falco served with")
	assert.Equal(t, "active", strings.TrimSpace(b.MustRun(t, "systemctl is-active falco-modern-bpf.service")))
}

func TestRefusedMachines(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options machine.Options
		user    string
		spoil   func(t *testing.T, b *bench)
		step    string
		said    string
	}{
		"no_right_to_sudo": {user: "nosudo", step: stepCheck, said: "user nosudo may not become root without a password"},
		"no_sudo_at_all": {user: "deploy", step: stepCheck, said: "user deploy is not root and sudo is not installed", spoil: func(t *testing.T, b *bench) {
			require.NoError(t, os.Remove(b.Path("/usr/bin/sudo")))
		}},
		"an_unsupported_release": {step: stepCheck, said: "Ubuntu 20.04.6 LTS (ubuntu:20.04) is not supported; supported: debian:12", spoil: func(t *testing.T, b *bench) {
			b.MustRun(t, "rm /etc/os-release")
			b.Write(t, "/etc/os-release", "ID=ubuntu\nVERSION_ID=\"20.04\"\nPRETTY_NAME=\"Ubuntu 20.04.6 LTS\"\n")
		}},
		"too_new_a_kernel": {options: machine.Options{Kernel: "6.15.3-amd64"}, step: stepCheck, said: "kernel 6.15.3-amd64 is too new: the probe of Falco 0.40.0 loads on Linux 5.8 up to, not including, 6.15"},
		"too_old_a_kernel": {options: machine.Options{Kernel: "5.4.0-200-generic"}, step: stepCheck, said: "kernel 5.4.0-200-generic is too old"},
		"no_BTF": {step: stepCheck, said: "no BTF at /sys/kernel/btf/vmlinux", spoil: func(t *testing.T, b *bench) {
			require.NoError(t, os.Remove(b.Path("/sys/kernel/btf/vmlinux")))
		}},
		"no_systemd": {step: stepCheck, said: "systemd does not run here", spoil: func(t *testing.T, b *bench) {
			require.NoError(t, os.Remove(b.Path("/run/systemd/system")))
		}},
		"an_almost_full_disk": {options: machine.Options{SizeMB: 160}, step: stepCheck, said: "the disk under /usr has 15"},
		"managed_by_another_stack": {step: stepCheck, said: "this host is managed by other/stack/web-1, not by spire-falco/test/web-1", spoil: func(t *testing.T, b *bench) {
			b.Write(t, "/var/lib/spire-falco/base/owner", "other/stack/web-1\n")
		}},
		"the_repository_listed_elsewhere": {step: stepCheck, said: "/etc/apt/sources.list.d/falco.list lists http://127.0.0.1:", spoil: func(t *testing.T, b *bench) {
			b.Write(t, "/etc/apt/sources.list.d/falco.list", "deb "+b.repo.URL+" stable main\n")
		}},
		"a_repository_key_that_is_not_the_pinned_one": {step: stepPackage, said: "does not hold the pinned key", spoil: func(t *testing.T, b *bench) {
			b.must(t, stepBase)
			b.args.Repository.KeyURL = b.repo.OtherKeyURL
		}},
		"a_version_that_the_repository_does_not_have": {step: stepPackage, said: "has no falco 0.41.3 for " + runtime.GOARCH + "; it has: 0.40.0 0.44.1", spoil: func(t *testing.T, b *bench) {
			b.must(t, stepBase)
			b.args.FalcoVersion = "0.41.3"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, c.options)
			if c.spoil != nil {
				c.spoil(t, b)
			}
			user := c.user
			if user == "" {
				user = "deploy"
			}
			before := b.Snapshot(t)
			assert.Contains(t, b.refused(t, user, c.step), c.said)
			if c.step == stepCheck {
				assert.Empty(t, machine.Differences(before, b.Snapshot(t)), "the machine is as before")
			}
		})
	}

	t.Run("a_disk_that_fills_up_while_files_are_switched", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, machine.Options{SizeMB: 700})
		b.up(t)
		before := b.Snapshot(t)
		big := strings.Repeat("# a long comment in a rule file, to take up room on the disk of the machine\n", 20_000) // 1.5 MB
		b.args.Rules = map[string]string{"10-socket.yaml": goodRules + big, "90-extra.yaml": extraRules + big}
		free := strings.TrimSpace(b.MustRun(t, "df -Pk /etc | awk 'NR == 2 { print $4 }'"))
		for _, left := range []int{1_000, 4_000, 7_500} { // while files are staged, while they are previewed, and in the switch
			var kb int
			_, err := fmt.Sscan(free, &kb)
			require.NoError(t, err)
			b.MustRun(t, fmt.Sprintf("fallocate -l %dK /var/filler", kb-left))
			r := b.step(t, "deploy", stepFalco)
			assert.Equalf(t, 1, r.Code, "%d KB left: %s", left, r.Stderr)
			assert.Containsf(t, r.Stderr, "error: ", "%d KB left", left)
			require.NoError(t, os.Remove(b.Path("/var/filler")))
			b.MustRun(t, "rm -rf /var/lib/spire-falco/staged /var/lib/spire-falco/preview")
			after := b.Snapshot(t)
			dropLedger(before, after)
			assert.Emptyf(t, machine.Differences(before, after), "%d KB left: the machine is as before", left)
		}
		b.must(t, stepFalco)
	})
}

func TestScripts(t *testing.T) {
	t.Run("are_clean_for_shellcheck", func(t *testing.T) {
		tool, err := exec.LookPath("shellcheck")
		if err != nil {
			if os.Getenv(machine.RequireVariable) != "" {
				t.Fatal("shellcheck is missing")
			}
			t.Skip("SKIPPED, NOT PASSED: shellcheck is missing; try: apt-get install shellcheck")
		}
		var files []string
		for _, pattern := range []string{"scripts/*.sh", "../../tests/host/machine/*.sh", "../../tests/host/machine/debian/*"} {
			found, err := filepath.Glob(pattern)
			require.NoError(t, err)
			require.NotEmpty(t, found)
			files = append(files, found...)
		}
		out, err := exec.Command(tool, files...).CombinedOutput()
		assert.NoErrorf(t, err, "%s", out)
	})
}
