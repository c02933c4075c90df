package vpnproto

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Version is one version of the protocol. Minor versions only add.
type Version struct{ Major, Minor uint }

// What a minor version of major version 1 added.
var (
	minorDevice   = Version{1, 1} // StartRequest: device_id, device_os, coder_desktop_version
	minorLastPing = Version{1, 2} // Agent.last_ping
	minorWake     = Version{1, 3} // WakeRequest, WakeResponse
)

// Supported are the versions that this tunnel speaks.
var Supported = Versions{{1, 3}}

// has says whether what another version added is there.
func (v Version) has(added Version) bool { return v.Major == added.Major && v.Minor >= added.Minor }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Versions are the highest minor version of each major one, sorted.
type Versions []Version

// String is the form on the wire, such as "1.3,2.1".
func (v Versions) String() string {
	parts := make([]string, 0, len(v))
	for _, version := range v {
		parts = append(parts, version.String())
	}
	return strings.Join(parts, ",")
}

// ErrInvalid is wrapped when the other side follows the form of a handshake but
// not its rules: its role, its versions, or none in common.
var ErrInvalid = errors.New("not valid")

// ParseVersions reads the form on the wire.
func ParseVersions(text string) (Versions, error) {
	var list Versions
	for part := range strings.SplitSeq(text, ",") {
		version, err := parseVersion(part)
		if err != nil {
			return nil, err
		}
		list = append(list, version)
	}
	if !slices.IsSortedFunc(list, func(a, b Version) int { return int(a.Major) - int(b.Major) }) {
		return nil, fmt.Errorf("versions %q are not sorted: %w", text, ErrInvalid)
	}
	for at := 1; at < len(list); at++ {
		if list[at].Major == list[at-1].Major {
			return nil, fmt.Errorf("versions %q name major version %d twice: %w", text, list[at].Major, ErrInvalid)
		}
	}
	return list, nil
}

func parseVersion(text string) (Version, error) {
	const bits = 16 // far more than there will be
	major, minor, found := strings.Cut(text, ".")
	first, err := strconv.ParseUint(major, 10, bits)
	second, err2 := strconv.ParseUint(minor, 10, bits)
	if !found || err != nil || err2 != nil || first == 0 {
		return Version{}, fmt.Errorf("version %q is not MAJOR.MINOR with a major version of 1 or more: %w", text, ErrInvalid)
	}
	return Version{uint(first), uint(second)}, nil
}

// Choose is the highest major version that both have, with the smaller of the
// two minor ones.
func (v Versions) Choose(theirs Versions) (Version, error) {
	for _, ours := range slices.Backward(v) {
		for _, other := range theirs {
			if other.Major == ours.Major {
				return Version{ours.Major, min(ours.Minor, other.Minor)}, nil
			}
		}
	}
	return Version{}, fmt.Errorf("no version in common: here %s, there %s: %w", v, theirs, ErrInvalid)
}
