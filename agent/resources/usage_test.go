package resources

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	gib       = 1 << 30
	hostTotal = 16 * gib
	unlimited = "9223372036854771712" // as version 1 says it
)

// files are those of a system, below sys/fs/cgroup but for the membership.
func files(members string, content map[string]string) fs.FS {
	result := fstest.MapFS{membership: {Data: []byte(members)}}
	for name, text := range content {
		result["sys/fs/cgroup/"+name] = &fstest.MapFile{Data: []byte(text + "\n")}
	}
	return result
}

func TestMemoryOfGroups(t *testing.T) {
	tests := []struct {
		name string
		fs   fs.FS
		want Amount // zero: nothing limits us
	}{
		{"no groups at all", fstest.MapFS{}, Amount{}},
		{"2: a host", files("0::/user.slice\n", map[string]string{"user.slice/memory.max": "max", "user.slice/memory.current": "7"}), Amount{}},
		{"2: a container with a limit", files("0::/\n", map[string]string{
			"memory.max": "1073741824", "memory.current": "536870912", "memory.stat": "anon 1\ninactive_file 1024\nactive_file 5",
		}), Amount{gib/2 - 1024, gib}},
		{"2: a container without a limit", files("0::/\n", map[string]string{"memory.max": "max", "memory.current": "4096"}), Amount{4096, hostTotal}},
		{"2: more than the host has", files("0::/\n", map[string]string{"memory.max": "99999999999999", "memory.current": "4096"}), Amount{4096, hostTotal}},
		{"2: a service with a limit", files("0::/system.slice/a.service\n", map[string]string{
			"system.slice/a.service/memory.max": "1073741824", "system.slice/a.service/memory.current": "5",
			"system.slice/memory.max": "max", "system.slice/memory.current": "9",
		}), Amount{5, gib}},
		{"2: the tightest is above", files("0::/a/b\n", map[string]string{
			"a/b/memory.max": "4294967296", "a/b/memory.current": "5", "a/memory.max": "1073741824", "a/memory.current": "9",
		}), Amount{9, gib}},
		{"2: more is dropped than used", files("0::/\n", map[string]string{
			"memory.max": "1073741824", "memory.current": "5", "memory.stat": "inactive_file 1000",
		}), Amount{0, gib}},
		{"2: outside of what can be seen", files("0::/../../elsewhere\n", map[string]string{"memory.max": "1073741824", "memory.current": "5"}), Amount{5, gib}},
		{"1: a container", files("5:memory:/docker/0123\n4:cpu,cpuacct:/docker/0123\n0::/\n", map[string]string{
			"memory/memory.limit_in_bytes": "1073741824", "memory/memory.usage_in_bytes": "5000", "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 1000",
		}), Amount{4000, gib}},
		{"1: no limit", files("5:memory:/\n", map[string]string{
			"memory/memory.limit_in_bytes": unlimited, "memory/memory.usage_in_bytes": "5000",
		}), Amount{}},
		{"1: a number that does not fit", files("5:memory:/\n", map[string]string{
			"memory/memory.limit_in_bytes": "18446744073709551615", "memory/memory.usage_in_bytes": "5000",
		}), Amount{}},
		{"malformed limit", files("0::/\n", map[string]string{"memory.max": "plenty", "memory.current": "5"}), Amount{}},
		{"negative limit", files("0::/\n", map[string]string{"memory.max": "-1", "memory.current": "5"}), Amount{}},
		{"empty limit", files("0::/\n", map[string]string{"memory.max": "", "memory.current": "5"}), Amount{}},
		{"malformed use", files("0::/\n", map[string]string{"memory.max": "1073741824", "memory.current": "?"}), Amount{}},
		{"no use", files("0::/\n", map[string]string{"memory.max": "1073741824"}), Amount{}},
		{"malformed statistics", files("0::/\n", map[string]string{
			"memory.max": "1073741824", "memory.current": "5000", "memory.stat": "inactive_file many",
		}), Amount{5000, gib}},
		{"malformed membership", files("nonsense\n:::\n0:\n", map[string]string{"memory.max": "1073741824", "memory.current": "5"}), Amount{}},
		{"one level is malformed", files("0::/a\n", map[string]string{
			"a/memory.max": "?", "a/memory.current": "1", "memory.max": "1073741824", "memory.current": "5",
		}), Amount{5, gib}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := (cgroups{test.fs}).memory(hostTotal)
			if got != test.want || (err == nil) != (test.want != Amount{}) || err != nil && !errors.Is(err, errNoLimit) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

func TestProcessorsOfGroups(t *testing.T) {
	const usage = "usage_usec 2500000\nuser_usec 1"
	tests := []struct {
		name  string
		fs    fs.FS
		cores float64 // 0: nothing limits us
		used  time.Duration
	}{
		{"no groups at all", fstest.MapFS{}, 0, 0},
		{"2: a host", files("0::/\n", map[string]string{"cpu.stat": usage}), 0, 0},
		{"2: a container with a limit", files("0::/\n", map[string]string{"cpu.max": "150000 100000", "cpu.stat": usage}), 1.5, 2500 * time.Millisecond},
		{"2: a container without a limit", files("0::/\n", map[string]string{"cpu.max": "max 100000", "cpu.stat": usage}), 8, 2500 * time.Millisecond},
		{"2: a service, limited above", files("0::/a/b\n", map[string]string{
			"a/b/cpu.max": "max 100000", "a/b/cpu.stat": usage, "a/cpu.max": "50000 100000", "a/cpu.stat": usage,
		}), 0.5, 2500 * time.Millisecond},
		{"1: together", files("3:cpu,cpuacct:/docker/0123\n", map[string]string{
			"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000", "cpu,cpuacct/cpuacct.usage": "7000000000",
		}), 2, 7 * time.Second},
		{"1: apart", files("3:cpu:/a\n4:cpuacct:/a\n", map[string]string{
			"cpu/a/cpu.cfs_quota_us": "200000", "cpu/a/cpu.cfs_period_us": "100000", "cpuacct/a/cpuacct.usage": "7000000000",
		}), 2, 7 * time.Second},
		{"1: no limit", files("3:cpu,cpuacct:/\n", map[string]string{
			"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000", "cpu,cpuacct/cpuacct.usage": "7000000000",
		}), 0, 0},
		{"no period", files("0::/\n", map[string]string{"cpu.max": "150000", "cpu.stat": usage}), 0, 0},
		{"a period of nothing", files("0::/\n", map[string]string{"cpu.max": "150000 0", "cpu.stat": usage}), 0, 0},
		{"a limit of nothing", files("0::/\n", map[string]string{"cpu.max": "0 100000", "cpu.stat": usage}), 0, 0},
		{"malformed", files("0::/\n", map[string]string{"cpu.max": "a b", "cpu.stat": usage}), 0, 0},
		{"no use", files("0::/\n", map[string]string{"cpu.max": "150000 100000"}), 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := (cgroups{test.fs}).processor(8)
			if got.cores != test.cores || (err == nil) != (test.cores != 0) {
				t.Fatalf("got %v, %v, want %v", got.cores, err, test.cores)
			}
			if err != nil {
				return
			}
			if used, err := got.used(); used != test.used || err != nil {
				t.Errorf("used %v, %v, want %v", used, err, test.used)
			}
		})
	}
}

func TestMeasure(t *testing.T) {
	calls := 0
	own := processor{cores: 4, used: func() (time.Duration, error) {
		calls++
		return time.Duration(calls) * 20 * time.Millisecond, nil
	}}
	got, err := measure(t.Context(), own, 10*time.Millisecond)
	if err != nil || got.Total != 4 || got.Used <= 0 || got.Used > 2 {
		t.Errorf("got %+v, %v", got, err)
	}
	broken := errors.New("gone")
	own.used = func() (time.Duration, error) { return 0, broken }
	if _, err := measure(t.Context(), own, time.Millisecond); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := measure(ctx, processor{used: func() (time.Duration, error) { return 0, nil }}, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestThisMachine asks the real one.
func TestThisMachine(t *testing.T) {
	for _, hostOnly := range []bool{false, true} {
		memory, scope, err := Memory(hostOnly)
		if err != nil || memory.Used <= 0 || memory.Total < memory.Used || hostOnly && scope != Host {
			t.Errorf("memory %+v of %s, %v", memory, scope, err)
		}
		cores, scope, err := CPU(t.Context(), hostOnly, 50*time.Millisecond)
		if err != nil || cores.Used < 0 || cores.Total <= 0 || hostOnly && scope != Host || math.IsNaN(cores.Used) {
			t.Errorf("processors %+v of %s, %v", cores, scope, err)
		}
	}
	volume, err := Disk(t.TempDir())
	if err != nil || volume.Used <= 0 || volume.Total < volume.Used {
		t.Errorf("volume %+v, %v", volume, err)
	}
	if _, err := Disk(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent volume: %v", err)
	}
}

func FuzzGroups(f *testing.F) {
	f.Add("0::/a\n", "max", "5", "inactive_file 3", "150000 100000", "usage_usec 5")
	f.Add("5:memory:/\n3:cpu,cpuacct:/../..\n", unlimited, "5", "total_inactive_file 3", "-1", "7")
	f.Add("0::/\x00\n1:/memory,:/a", "0", "-5", "inactive_file", "0 0", "")
	f.Fuzz(func(t *testing.T, members, limit, used, statistics, quota, time string) {
		content := map[string]string{}
		for _, dir := range []string{"", "a/", "memory/", "memory/a/", "cpu,cpuacct/", "cpu/"} {
			for _, name := range []string{"memory.max", "memory.limit_in_bytes"} {
				content[dir+name] = limit
			}
			for _, name := range []string{"memory.current", "memory.usage_in_bytes"} {
				content[dir+name] = used
			}
			content[dir+"memory.stat"] = statistics
			for _, name := range []string{"cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"} {
				content[dir+name] = quota
			}
			for _, name := range []string{"cpu.stat", "cpuacct.usage"} {
				content[dir+name] = time
			}
		}
		groups := cgroups{files(members, content)}
		if got, err := groups.memory(hostTotal); err == nil && (got.Used < 0 || got.Total < 0 || got.Total > hostTotal) {
			t.Errorf("memory %+v", got)
		}
		if got, err := groups.processor(8); err == nil && (got.cores <= 0 || got.cores > 8) {
			t.Errorf("processors %v", got.cores)
		}
	})
}
