package commandprovider

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/retry"
	"golang.org/x/crypto/ssh"
)

// Names of the variables that carry the output of the former run.
const (
	FormerStdout = "PULUMI_COMMAND_STDOUT"
	FormerStderr = "PULUMI_COMMAND_STDERR"
)

type result struct{ stdout, stderr string }

// lockedBuffer takes what two streams write, in the order of its coming.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// run runs a command line with what the inputs say, and returns its output without the last newline.
func (s *Server) run(ctx context.Context, urn, line string, inputs resource.PropertyMap, formerStdout, formerStderr *string) (result, error) {
	var stdout, stderr bytes.Buffer
	both := &lockedBuffer{}
	shown, toShow := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(shown); lines.Scan(); {
			s.log(ctx, urn, lines.Text())
		}
		_, _ = io.Copy(io.Discard, shown)
	}()
	streams := func(buffer io.Writer, name string) io.Writer {
		writers := []io.Writer{buffer, both}
		if logged(inputs["logging"], name) {
			writers = append(writers, toShow)
		}
		return io.MultiWriter(writers...)
	}
	env := map[string]string{}
	if v := plain(inputs["environment"]); v.IsObject() {
		for key, value := range v.ObjectValue() {
			if t := text(value); t != nil {
				env[string(key)] = *t
			}
		}
	}
	former := map[string]string{}
	if v := plain(inputs["addPreviousOutputInEnv"]); !v.IsBool() || v.BoolValue() {
		if formerStdout != nil && *formerStdout != "" {
			former[FormerStdout] = *formerStdout
		}
		if formerStderr != nil && *formerStderr != "" {
			former[FormerStderr] = *formerStderr
		}
	}
	job := job{line: line, env: env, former: former, stdout: streams(&stdout, "stdout"), stderr: streams(&stderr, "stderr")}
	if t := text(inputs["stdin"]); t != nil && *t != "" {
		job.stdin = strings.NewReader(*t)
	}
	var err error
	if resource.URN(urn).Type().String() == RemoteCommand {
		err = job.remote(ctx, plain(inputs["connection"]), func(message string) { s.log(ctx, urn, message) })
	} else {
		err = job.local(s.localCommand(ctx, line, texts(inputs["interpreter"]), text(inputs["dir"])))
	}
	_ = toShow.Close()
	<-done
	if err != nil {
		return result{}, fmt.Errorf("%w: running %q:\n%s", err, line, both.b.String())
	}
	return result{strings.TrimSuffix(stdout.String(), "\n"), strings.TrimSuffix(stderr.String(), "\n")}, nil
}

type job struct {
	line           string
	env, former    map[string]string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// localCommand makes the process of a local command.
func (s *Server) localCommand(ctx context.Context, line string, interpreter []string, dir *string) *exec.Cmd {
	if s.Local != nil {
		return s.Local(ctx, line)
	}
	if len(interpreter) == 0 {
		interpreter = []string{"/bin/sh", "-c"}
	}
	args := append(slices.Clone(interpreter), line)
	c := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // running commands is what a command provider is for
	c.Env = os.Environ()
	if dir != nil {
		c.Dir = *dir
	}
	return c
}

func (j *job) local(c *exec.Cmd) error {
	for _, more := range []map[string]string{j.env, j.former} {
		for key, value := range more {
			c.Env = append(c.Env, key+"="+value)
		}
	}
	c.Stdin, c.Stdout, c.Stderr = j.stdin, j.stdout, j.stderr
	return c.Run()
}

func (j *job) remote(ctx context.Context, connection resource.PropertyValue, log func(string)) error {
	client, err := dial(ctx, connection, log)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer func() { _ = session.Close() }()
	for key, value := range j.env {
		if err := session.Setenv(key, value); err != nil {
			return fmt.Errorf("could not set environment variable %q: %w", key, err)
		}
	}
	for key, value := range j.former {
		if err := session.Setenv(key, value); err != nil {
			log("Unable to set '" + key + "'")
		}
	}
	session.Stdin, session.Stdout, session.Stderr = j.stdin, j.stdout, j.stderr
	return session.Run(j.line)
}

// dial connects as often as dialErrorLimit says. Only a host key that is given is checked, as its type alone.
func dial(ctx context.Context, connection resource.PropertyValue, log func(string)) (*ssh.Client, error) {
	if !connection.IsObject() {
		return nil, errNoConnection
	}
	c := connection.ObjectValue()
	host, user := text(c["host"]), text(c["user"])
	if host == nil || user == nil {
		return nil, errNoConnection
	}
	config := &ssh.ClientConfig{User: *user, Timeout: time.Duration(number(c["perDialTimeout"])) * time.Second}
	if pinned := text(c["hostKey"]); pinned != nil {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(*pinned))
		if err != nil {
			return nil, fmt.Errorf("failed to parse host key: %w", err)
		}
		config.HostKeyCallback = ssh.FixedHostKey(key)
		config.HostKeyAlgorithms = []string{key.Type()}
	} else {
		config.HostKeyCallback = ssh.InsecureIgnoreHostKey() //nolint:gosec // what the real one does without a host key
	}
	if pem := text(c["privateKey"]); pem != nil {
		var signer ssh.Signer
		var err error
		if password := text(c["privateKeyPassword"]); password != nil {
			signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(*pem), []byte(*password))
		} else {
			signer, err = ssh.ParsePrivateKey([]byte(*pem))
		}
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if password := text(c["password"]); password != nil {
		config.Auth = append(config.Auth, ssh.Password(*password))
	}
	endpoint := net.JoinHostPort(*host, strconv.Itoa(number(c["port"])))
	limit := number(c["dialErrorLimit"])
	var failure error
	ok, client, err := retry.Until(ctx, retry.Acceptor{
		Accept: func(try int, _ time.Duration) (bool, any, error) {
			client, err := ssh.Dial("tcp", endpoint, config)
			if err == nil {
				return true, client, nil
			}
			failure = err
			if limit > -1 && try+1 > limit {
				return true, nil, fmt.Errorf("after %d failed attempts: %w", try, failure)
			}
			log(fmt.Sprintf("Dial %d/%d failed: retrying", try+1, limit))
			return false, nil, nil
		},
	})
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, ctx.Err()
	}
	return client.(*ssh.Client), nil
}
