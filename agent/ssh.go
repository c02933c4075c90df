package agent

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/causewayhq/causeway/agent/sshd"
)

// SSH is what the workspace's owner can set of the SSH server.
type SSH struct {
	// BlockFileTransfer refuses SFTP and the usual programs of file transfer,
	// BlockLocalForward forwards from the client, BlockReverseForward those to it.
	BlockFileTransfer, BlockLocalForward, BlockReverseForward bool
	// IdleTimeout ends connections over which no data passes, MaxSession those that
	// have lasted so long. MaxTimeout is how long a client may be dead before its
	// connection ends. Zero: none.
	IdleTimeout, MaxSession, MaxTimeout time.Duration
}

func (a *agent) newSSH() (*sshd.Server, error) {
	wanted := a.config.SSH
	return sshd.New(sshd.Config{
		HostKey: a.state.HostKey(), Logger: a.log, Login: a.login(), MOTD: a.motd,
		Banners: a.reports.banners.Banners, Opened: a.reports.connections.Open,
		BlockFileTransfer: wanted.BlockFileTransfer, BlockLocalForward: wanted.BlockLocalForward, BlockReverseForward: wanted.BlockReverseForward,
		IdleTimeout: wanted.IdleTimeout, MaxSession: wanted.MaxSession, MaxTimeout: wanted.MaxTimeout,
	})
}

// motd is the path of the message of the day, in the home directory when it is
// relative; "" where there is none.
func (a *agent) motd() string {
	a.mu.Lock()
	path := os.ExpandEnv(a.manifest.message.GetMotdPath())
	a.mu.Unlock()
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, strings.TrimPrefix(path, "~"))
}
