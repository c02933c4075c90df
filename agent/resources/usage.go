package resources

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"
)

// Amount is in bytes.
type Amount struct{ Used, Total int64 }

// Scope says whose resources are meant.
type Scope string

const (
	// Container is the tightest control group with a limit, or the container, if
	// there is one.
	Container Scope = "container"
	// Host is the whole machine.
	Host Scope = "host"
)

// Memory is what is in use, without what could be had at once. With hostOnly,
// or where nothing limits this process, it is the host's.
func Memory(hostOnly bool) (Amount, Scope, error) {
	all, err := mem.VirtualMemory()
	if err != nil {
		return Amount{}, Host, fmt.Errorf("measure memory: %w", err)
	}
	host := Amount{Used: clamp(all.Total - min(all.Available, all.Total)), Total: clamp(all.Total)}
	if root := cgroupRoot(); root != nil && !hostOnly {
		if own, err := (cgroups{root}).memory(host.Total); err == nil {
			return own, Container, nil
		}
	}
	return host, Host, nil
}

// Cores are processors' worth of time.
type Cores struct{ Used, Total float64 }

// CPU measures for a while.
func CPU(ctx context.Context, hostOnly bool, while time.Duration) (Cores, Scope, error) {
	count, err := cpu.CountsWithContext(ctx, true)
	if err != nil || count < 1 {
		return Cores{}, Host, fmt.Errorf("count processors: %w", errors.Join(err, ctx.Err()))
	}
	if root := cgroupRoot(); root != nil && !hostOnly {
		if own, err := (cgroups{root}).processor(float64(count)); err == nil {
			cores, err := measure(ctx, own, while)
			return cores, Container, err
		}
	}
	percent, err := cpu.PercentWithContext(ctx, while, false)
	if err != nil || len(percent) == 0 {
		return Cores{}, Host, fmt.Errorf("measure processors: %w", errors.Join(err, ctx.Err()))
	}
	return Cores{Used: percent[0] / 100 * float64(count), Total: float64(count)}, Host, nil
}

// measure compares what a group has used before and after a while.
func measure(ctx context.Context, own processor, while time.Duration) (Cores, error) {
	before, err := own.used()
	if err != nil {
		return Cores{}, fmt.Errorf("measure processors: %w", err)
	}
	began := time.Now()
	timer := time.NewTimer(while)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return Cores{}, fmt.Errorf("measure processors: %w", ctx.Err())
	}
	after, err := own.used()
	if err != nil {
		return Cores{}, fmt.Errorf("measure processors: %w", err)
	}
	return Cores{Used: float64(max(after-before, 0)) / float64(time.Since(began)), Total: own.cores}, nil
}

// Disk is the file system that a path is on. What is kept for root counts as
// not in use.
func Disk(path string) (Amount, error) {
	usage, err := disk.Usage(path)
	if err != nil {
		return Amount{}, fmt.Errorf("measure volume %s: %w", path, err)
	}
	return Amount{Used: clamp(usage.Used), Total: clamp(usage.Total)}, nil
}

func clamp(bytes uint64) int64 { return int64(min(bytes, math.MaxInt64)) }
