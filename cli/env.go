package cli

import (
	"context"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/term"

	"github.com/causewayhq/causeway/cli/doctor"
	"github.com/causewayhq/causeway/config"
)

// Env is the world around the command.
type Env struct {
	Args           []string // with the program's name first
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(string) (string, bool)
	// Version of this program.
	Version string
	// Lookup asks the operating system's resolver; nil is the real one.
	Lookup Lookup
	// Doctor measures and mends this machine; nil is the real one.
	Doctor doctor.Patient
	// UserID is the user's number; nil asks the system.
	UserID func() int

	// dialAgent connects to agents in tests; nil is through the system's network.
	dialAgent func(ctx context.Context, network, address string) (net.Conn, error)
	// patience takes the place of answerLimit in tests, which is too long to wait.
	patience time.Duration
}

// app is one run of the command.
type app struct {
	env    Env
	socket string
	now    func() time.Time
}

func (a *app) getenv(name string) string {
	value, _ := a.env.LookupEnv(name)
	return value
}

// socketPath is --socket, else CAUSEWAY_SOCKET, else the default.
func (a *app) socketPath() string {
	if a.socket != "" {
		return a.socket
	}
	if path := a.getenv("CAUSEWAY_SOCKET"); path != "" {
		return path
	}
	return config.DefaultSocket
}

// terminal says whether a stream is a terminal, and gives its descriptor.
func terminal(stream any) (int, bool) {
	file, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0, false
	}
	return int(file.Fd()), true
}

// styles are what a terminal shows instead of plain text; all empty elsewhere.
type styles struct{ bold, red, yellow, green, reset string }

// style is for one output stream; NO_COLOR and a dumb terminal switch it off.
func (a *app) style(stream io.Writer) styles {
	_, ok := terminal(stream)
	if !ok || a.getenv("NO_COLOR") != "" || a.getenv("TERM") == "dumb" {
		return styles{}
	}
	return styles{bold: "\x1b[1m", red: "\x1b[31m", yellow: "\x1b[33m", green: "\x1b[32m", reset: "\x1b[0m"}
}
