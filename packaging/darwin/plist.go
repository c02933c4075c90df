// Package darwin renders what launchd(8) needs to run the daemon.
package darwin

import (
	"bytes"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"strings"
	"text/template"
)

// What an installation on a Mac uses.
const (
	// Label names the job; the property list is /Library/LaunchDaemons/LABEL.plist,
	// owned by root:wheel, 0644: launchd refuses one that others may write.
	Label = "com.causewayhq.causewayd"
	// PlistPath is where launchd finds it at boot.
	PlistPath = "/Library/LaunchDaemons/" + Label + ".plist"
	// LogDir holds what the daemon prints; launchd makes the file, not the
	// directory.
	LogDir = "/Library/Logs/Causeway"
	// BundleID is that of the app under which Login Items shows the daemon.
	BundleID = "com.causewayhq.causeway"
)

// throttleSeconds is the least time between two starts of the daemon. launchd
// waits 10 s unless told otherwise, and so long a crash would leave names
// without an answer.
const throttleSeconds = 1

// maxFiles is the soft limit of descriptors. launchd gives 256; each relay,
// peer and client of the local API takes one.
const maxFiles = 8192

// exitSeconds is how long launchd waits after SIGTERM before it kills: longer
// than the 12 s after which a daemon that hangs ends itself, with its stacks.
const exitSeconds = 25

// Daemon says what the property list is to run.
type Daemon struct {
	// Program is the absolute path of causewayd.
	Program string
	// Args follow it; none means "run".
	Args []string
}

//go:embed causewayd.plist
var text string

var plist = template.Must(template.New("causewayd.plist").Funcs(template.FuncMap{"xml": escape}).Parse(text))

// escape writes a string so that XML reads it back as it was.
func escape(value string) (string, error) {
	var escaped strings.Builder
	err := xml.EscapeText(&escaped, []byte(value))
	return escaped.String(), err
}

// Render writes the property list of launchd.plist(5). It is the same for the
// same input, byte by byte.
func Render(daemon Daemon) ([]byte, error) {
	if !path.IsAbs(daemon.Program) || path.Clean(daemon.Program) != daemon.Program {
		return nil, fmt.Errorf("render launchd property list: %q is not a clean absolute path", daemon.Program)
	}
	args := daemon.Args
	if len(args) == 0 {
		args = []string{"run"}
	}
	for _, arg := range append([]string{daemon.Program}, args...) {
		if err := checkText(arg); err != nil {
			return nil, fmt.Errorf("render launchd property list: argument %q: %w", arg, err)
		}
	}
	var out bytes.Buffer
	err := plist.Execute(&out, map[string]any{
		"Label": Label, "Program": daemon.Program, "Args": args, "Log": LogDir + "/causewayd.log",
		"Bundle": BundleID, "Throttle": throttleSeconds, "Exit": exitSeconds, "Files": maxFiles,
	})
	if err != nil {
		return nil, fmt.Errorf("render launchd property list: %w", err)
	}
	return out.Bytes(), nil
}

// checkText refuses what XML cannot carry; the encoder would replace it.
func checkText(value string) error {
	for _, r := range value {
		if r < ' ' && r != '\t' && r != '\n' || r == '\uFFFD' || r == '\uFFFE' || r == '\uFFFF' {
			return errors.New("it has a character that XML cannot hold")
		}
	}
	return nil
}
