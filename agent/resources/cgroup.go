package resources

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxFile is far above any file of a control group, in bytes.
const maxFile = 64 << 10

// errNoLimit says that no control group limits us.
var errNoLimit = errors.New("no control group limits this process")

// cgroups are the control groups that this process is in, of both versions,
// read from the root directory. A group has the limits of all groups above it,
// and the tightest counts.
//
// The control group at the root of a real host has no file that could limit it
// in version 2: where there is one, the root is a container's.
type cgroups struct{ root fs.FS }

const (
	membership = "proc/self/cgroup"
	mount      = "sys/fs/cgroup"
)

// memory is what the tightest group uses, without what can be dropped at once,
// and its limit. A group without a limit has the host's memory as its total.
func (c cgroups) memory(host int64) (Amount, error) {
	best, found := Amount{Total: host}, false
	for _, level := range c.levels("memory") {
		files := memoryFiles[level.version]
		limit, err := c.number(path.Join(level.dir, files.limit))
		switch limited := err == nil && limit < host; {
		case err != nil && !errors.Is(err, errNoLimit):
			continue
		case limited && (!found || limit < best.Total):
		case !limited && !found && level.container():
			limit = host
		default:
			continue
		}
		used, err := c.number(path.Join(level.dir, files.used))
		if err != nil {
			continue
		}
		used -= min(used, c.field(path.Join(level.dir, "memory.stat"), files.inactive))
		best, found = Amount{Used: used, Total: limit}, true
	}
	if !found {
		return Amount{}, errNoLimit
	}
	return best, nil
}

// memoryFiles are the names by version.
var memoryFiles = map[int]struct{ limit, used, inactive string }{
	1: {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
	2: {"memory.max", "memory.current", "inactive_file"},
}

// processor is the group whose limit of processor time is the tightest.
type processor struct {
	cores float64
	// used reads how much time was used since the group was made.
	used func() (time.Duration, error)
}

func (c cgroups) processor(host float64) (processor, error) {
	best, found := processor{cores: host}, false
	for _, level := range c.levels("cpu") {
		cores, err := c.cores(level)
		switch limited := err == nil && cores < host; {
		case err != nil && !errors.Is(err, errNoLimit):
			continue
		case limited && (!found || cores < best.cores):
		case !limited && !found && level.container():
			cores = host
		default:
			continue
		}
		used := c.timeOf(level)
		if _, err := used(); err != nil {
			continue
		}
		best, found = processor{cores: cores, used: used}, true
	}
	if !found {
		return processor{}, errNoLimit
	}
	return best, nil
}

// cores is the limit of one group.
func (c cgroups) cores(l level) (float64, error) {
	var quota, period string
	if l.version == 2 {
		text, err := c.read(path.Join(l.dir, "cpu.max"))
		if err != nil {
			return 0, err
		}
		quota, period, _ = strings.Cut(text, " ")
	} else {
		var err error
		if quota, err = c.read(path.Join(l.dir, "cpu.cfs_quota_us")); err != nil {
			return 0, err
		}
		if period, err = c.read(path.Join(l.dir, "cpu.cfs_period_us")); err != nil {
			return 0, err
		}
	}
	if quota == "max" || quota == "-1" {
		return 0, errNoLimit
	}
	of, err := positive(quota)
	if err != nil {
		return 0, err
	}
	per, err := positive(period)
	if err != nil {
		return 0, err
	}
	if of == 0 || per == 0 {
		return 0, fmt.Errorf("a limit of %q in %q", quota, period)
	}
	return float64(of) / float64(per), nil
}

// timeOf reads what a group has used. Version 1 counts it in a hierarchy of its
// own, which most systems mount together with that of the limits.
func (c cgroups) timeOf(l level) func() (time.Duration, error) {
	if l.version == 2 {
		name := path.Join(l.dir, "cpu.stat")
		return func() (time.Duration, error) {
			if _, err := c.read(name); err != nil {
				return 0, err
			}
			return time.Duration(c.field(name, "usage_usec")) * time.Microsecond, nil
		}
	}
	names := []string{path.Join(l.dir, "cpuacct.usage"), path.Join(mount, "cpuacct", l.group, "cpuacct.usage")}
	return func() (time.Duration, error) {
		var last error
		for _, name := range names {
			nanoseconds, err := c.number(name)
			if err == nil {
				return time.Duration(nanoseconds), nil
			}
			last = err
		}
		return 0, last
	}
}

// level is one group that this process is in.
type level struct {
	version    int
	group, dir string
}

// container says that the group, if it has limits, is the root of a container.
func (l level) container() bool { return l.version == 2 && l.group == "/" }

// levels are the groups of a controller, from the innermost to the root. A group
// that cannot be seen from a container is passed over: its files are at the root
// of what can be seen.
func (c cgroups) levels(controller string) []level {
	text, err := c.read(membership)
	if err != nil {
		return nil
	}
	var result []level
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		version, base := 1, path.Join(mount, fields[1])
		switch {
		case fields[0] == "0" && fields[1] == "":
			version, base = 2, mount
		case !slices.Contains(strings.Split(fields[1], ","), controller):
			continue
		}
		for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
			result = append(result, level{version: version, group: group, dir: path.Join(base, group)})
			if group == "/" {
				break
			}
		}
	}
	return result
}

func (c cgroups) read(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", fmt.Errorf("read %q: %w", name, fs.ErrInvalid)
	}
	file, err := c.root.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile))
	return strings.TrimSpace(string(content)), err
}

// number reads a file that holds one number, or "max".
func (c cgroups) number(name string) (int64, error) {
	text, err := c.read(name)
	if err != nil {
		return 0, err
	}
	if text == "max" {
		return 0, errNoLimit
	}
	return positive(text)
}

// field reads one line of a file that holds names with numbers; 0 if it has none.
func (c cgroups) field(name, field string) int64 {
	text, err := c.read(name)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, field+" "); found {
			number, err := positive(strings.TrimSpace(value))
			if err != nil {
				return 0
			}
			return number
		}
	}
	return 0
}

// positive reads a number from 0 up. Version 1 says with a huge one that there
// is no limit, which does not always fit.
func positive(text string) (int64, error) {
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, err
	}
	return int64(min(number, 1<<63-1)), nil
}
