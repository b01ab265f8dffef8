package machine

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
)

// SSHServer logs in to a machine, with one key for all its users. As OpenSSH's sshd does out of the box, it refuses
// environment variables.
type SSHServer struct {
	// Address and Port are where it listens, on loopback.
	Address string
	Port    int
	// HostKey is its public key as in a .pub file.
	HostKey string
	// PrivateKey is the user's, in PEM.
	PrivateKey string

	mu       sync.Mutex
	logins   int
	commands []string
}

// SSH starts an SSH server for the machine. It ends with the test.
func (m *Machine) SSH(t testing.TB) *SSHServer {
	t.Helper()
	hostSigner, _ := newKey(t)
	userSigner, userPEM := newKey(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	s := &SSHServer{
		Address:    "127.0.0.1",
		Port:       listener.Addr().(*net.TCPAddr).Port,
		HostKey:    strings.TrimSpace(string(ssh.MarshalAuthorizedKey(hostSigner.PublicKey()))),
		PrivateKey: userPEM,
	}
	users := m.Read(t, "/etc/passwd")
	config := &ssh.ServerConfig{
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if !strings.Contains("\n"+users, "\n"+c.User()+":") || string(key.Marshal()) != string(userSigner.PublicKey().Marshal()) {
				return nil, errors.New("permission denied")
			}
			return nil, nil
		},
	}
	config.AddHostKey(hostSigner)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(m, conn, config)
		}
	}()
	return s
}

// NewHostKey returns a public key that is no machine's.
func NewHostKey(t testing.TB) string {
	t.Helper()
	signer, _ := newKey(t)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func newKey(t testing.TB) (ssh.Signer, string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := ssh.NewSignerFromKey(key)
	require.NoError(t, err)
	block, err := ssh.MarshalPrivateKey(key, "")
	require.NoError(t, err)
	return signer, string(pem.EncodeToMemory(block))
}

// Logins counts the connections that got in.
func (s *SSHServer) Logins() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// Commands lists the command lines that were run, oldest first.
func (s *SSHServer) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.commands...)
}

func (s *SSHServer) serve(m *Machine, raw net.Conn, config *ssh.ServerConfig) {
	conn, channels, requests, err := ssh.NewServerConn(raw, config)
	if err != nil {
		_ = raw.Close()
		return
	}
	defer func() { _ = conn.Close() }()
	s.mu.Lock()
	s.logins++
	s.mu.Unlock()
	go ssh.DiscardRequests(requests)
	for c := range channels {
		if c.ChannelType() != "session" {
			_ = c.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		channel, requests, err := c.Accept()
		if err != nil {
			return
		}
		go s.session(m, conn.User(), channel, requests)
	}
}

func (s *SSHServer) session(m *Machine, user string, channel ssh.Channel, requests <-chan *ssh.Request) {
	defer func() { _ = channel.Close() }()
	for r := range requests {
		if r.Type != "exec" {
			_ = r.Reply(false, nil)
			continue
		}
		var payload struct{ Line string }
		if err := ssh.Unmarshal(r.Payload, &payload); err != nil {
			_ = r.Reply(false, nil)
			return
		}
		_ = r.Reply(true, nil)
		s.mu.Lock()
		s.commands = append(s.commands, payload.Line)
		s.mu.Unlock()
		c := m.Command(context.Background(), user, payload.Line)
		c.Stdin, c.Stdout, c.Stderr = channel, channel, channel.Stderr()
		status := uint32(0)
		if err := c.Run(); err != nil {
			status = 255
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() >= 0 {
				status = uint32(exit.ExitCode())
			} else {
				fmt.Fprintln(channel.Stderr(), err)
			}
		}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		return
	}
}
