package proto

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is a version of the Tailnet and agent APIs, which share one number.
type Version struct{ Major, Minor int }

// The versions that this project names. A client asks for the lowest one that
// has what it needs (docs of the protocol, 1.2).
var (
	// V20 has Coordinate and StreamDERPMaps.
	V20 = Version{2, 0}
	// V22 adds PostTelemetry.
	V22 = Version{2, 2}
	// V23 adds RefreshResumeToken, WorkspaceUpdates and the agent's ScriptCompleted.
	V23 = Version{2, 3}
	// V24 adds the agent's ReportConnection and the calls of the resources' monitoring.
	V24 = Version{2, 4}
	// V25 adds the manifest's parent_id.
	V25 = Version{2, 5}
	// Current is the newest version of which our server knows every message.
	Current = V25
)

// ErrVersion is wrapped by every refusal of a version.
var ErrVersion = errors.New("unsupported API version")

// ParseVersion reads "major.minor": exactly one dot, both parts decimal.
func ParseVersion(text string) (Version, error) {
	majorText, minorText, found := strings.Cut(text, ".")
	major, majorErr := parseDecimal(majorText)
	minor, minorErr := parseDecimal(minorText)
	if !found || majorErr != nil || minorErr != nil {
		return Version{}, fmt.Errorf("parse version %q: want major.minor: %w", text, ErrVersion)
	}
	return Version{major, minor}, nil
}

// parseDecimal refuses the signs that strconv.Atoi takes.
func parseDecimal(text string) (int, error) {
	value, err := strconv.ParseUint(text, 10, 31)
	return int(value), err
}

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Accepts says whether a server at version v serves a client that asks for
// requested, and why not. Of the older majors it serves those that are listed,
// whatever their minor version; our own server speaks only major 2 and lists none.
func (v Version) Accepts(requested Version, olderMajors ...int) error {
	switch {
	case requested.Major > v.Major:
		return fmt.Errorf("server is at version %s, behind requested major version %s: %w", v, requested, ErrVersion)
	case requested.Major < v.Major && slices.Contains(olderMajors, requested.Major):
		return nil
	case requested.Major < v.Major:
		return fmt.Errorf("version %s is no longer supported: %w", requested, ErrVersion)
	case requested.Minor > v.Minor:
		return fmt.Errorf("server is at version %s, behind requested minor version %s: %w", v, requested, ErrVersion)
	}
	return nil
}
