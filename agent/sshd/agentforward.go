package sshd

import (
	"net"
	"os"
	"path/filepath"
)

// addAgent makes the socket through which the session's processes reach the
// client's SSH agent. It lies in a directory that only this user can enter.
func (s *session) addAgent() bool {
	if s.started || s.agentSocket != nil {
		return false
	}
	directory, err := os.MkdirTemp("", "causeway-ssh-agent-")
	if err != nil {
		return false
	}
	listener, err := net.Listen("unix", filepath.Join(directory, "agent.sock"))
	if err != nil {
		os.Remove(directory)
		return false
	}
	s.agentSocket = agentListener{Listener: listener, directory: directory}
	s.conn.work.Go(func() {
		s.conn.accept(listener, "auth-agent@openssh.com", func(net.Conn) []byte { return nil })
	})
	return true
}

// agentListener takes its directory with it.
type agentListener struct {
	net.Listener
	directory string
}

func (l agentListener) Close() error {
	err := l.Listener.Close()
	os.Remove(l.directory)
	return err
}
