package sshd

import (
	"errors"
	"fmt"
	"io"

	"github.com/pkg/sftp"
)

// runSubsystem serves SFTP, the one subsystem that there is. It runs inside the
// agent, with the rights that a command would have.
func (s *session) runSubsystem(name string) exit {
	if name != "sftp" {
		s.say(fmt.Sprintf("causeway-agent: unknown subsystem %q", name))
		return exit{status: statusFailed, cause: "unknown subsystem"}
	}
	if s.conn.server.config.BlockFileTransfer {
		return s.refuseTransfer()
	}
	// Every file of the user can be reached, as it can from a shell. A packet has
	// 256 KiB at most, and eight are worked on at once (pkg/sftp); what is open is
	// bounded on the way there.
	directory := s.conn.server.config.Login.WorkDirectory()
	server, err := sftp.NewServer(keptOpen{newWorkPaths(s.channel, directory)})
	if err != nil {
		return s.failSetup(fmt.Errorf("start sftp: %w", err))
	}
	defer server.Close()
	if err := server.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return exit{status: statusFailed, cause: "sftp ended in an error"}
	}
	return exit{}
}

// keptOpen leaves the channel open when the SFTP server closes it, which it does
// at the end of input: the exit status is still to be sent.
type keptOpen struct{ io.ReadWriter }

func (keptOpen) Close() error { return nil }
