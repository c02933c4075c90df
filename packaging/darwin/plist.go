// Package darwin renders what launchd(8) needs to run the daemon.
package darwin

import (
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
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
	var arguments strings.Builder
	for _, arg := range append([]string{daemon.Program}, args...) {
		escaped, err := escape(arg)
		if err != nil {
			return nil, fmt.Errorf("render launchd property list: %w", err)
		}
		arguments.WriteString("\t\t<string>" + escaped + "</string>\n")
	}
	// The constants hold nothing that XML would escape. A template would have the
	// daemon, which links this, keep every method of every type.
	return []byte(strings.NewReplacer(
		"@LABEL@", Label, "@ARGUMENTS@", arguments.String(), "@LOG@", LogDir+"/causewayd.log", "@BUNDLE@", BundleID,
		"@THROTTLE@", strconv.Itoa(throttleSeconds), "@EXIT@", strconv.Itoa(exitSeconds), "@FILES@", strconv.Itoa(maxFiles),
	).Replace(text)), nil
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
