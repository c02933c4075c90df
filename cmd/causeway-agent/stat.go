package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/agent/resources"
)

// statVersion counts incompatible changes of the JSON output; its schema is
// schema/stat.json.
const statVersion = 1

// sample is how long processors are measured by default. It leaves a metadata
// script, which has five seconds by default, time for other things.
const (
	sample    = time.Second
	maxSample = time.Minute
)

const statExitHelp = `Exit codes:
   0  measured
   1  cannot be measured
   2  wrong use`

// measured is what stat found.
type measured struct {
	Version  int             `json:"version"`
	Resource string          `json:"resource"`
	Scope    resources.Scope `json:"scope"`
	Unit     string          `json:"unit"`
	Used     float64         `json:"used"`
	Total    float64         `json:"total"`
}

func newStat() *cobra.Command {
	cmd := &cobra.Command{
		Use: "stat", Short: "Print how much of the workspace's processors, memory or disk is in use",
		Long: `Print how much of the workspace's processors, memory or disk is in use, as one
line: for metadata scripts. In a container, or a service with limits, its own use
and limits are meant, else the host's.

` + statExitHelp,
		Example: `  causeway-agent stat cpu            # 0.42/4 cores (10%)
  causeway-agent stat mem            # 1.5/7.8 GiB (19%)
  causeway-agent stat disk --path ~  # 52.1/97.9 GiB (53%)`,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStatCPU(), newStatMemory(), newStatDisk())
	return cmd
}

func newStatCPU() *cobra.Command {
	var host, asJSON bool
	var while time.Duration
	cmd := &cobra.Command{
		Use: "cpu", Short: "Measure for a second how many cores are in use",
		Long:    "Measure for a second how many cores are in use, of those that may be used.\n\n" + statExitHelp,
		Example: "  causeway-agent stat cpu\n  causeway-agent stat cpu --host --sample 5s --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if while <= 0 || while > maxSample {
				return misuse(cmd, fmt.Errorf("--sample %s: want more than 0s and at most %s", while, maxSample))
			}
			cores, scope, err := resources.CPU(cmd.Context(), host, while)
			if err != nil {
				return err
			}
			return printStat(cmd, asJSON, measured{Resource: "cpu", Scope: scope, Unit: "cores", Used: cores.Used, Total: cores.Total})
		},
	}
	cmd.Flags().DurationVar(&while, "sample", sample, "measure for so `long`")
	return statFlags(cmd, &host, &asJSON)
}

func newStatMemory() *cobra.Command {
	var host, asJSON bool
	cmd := &cobra.Command{
		Use: "mem", Aliases: []string{"memory"}, Short: "Print how much memory is in use",
		Long:    "Print how much memory is in use, without what could be had at once (caches).\n\n" + statExitHelp,
		Example: "  causeway-agent stat mem\n  causeway-agent stat mem --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			amount, scope, err := resources.Memory(host)
			if err != nil {
				return err
			}
			return printStat(cmd, asJSON, bytesOf("memory", scope, amount))
		},
	}
	return statFlags(cmd, &host, &asJSON)
}

func newStatDisk() *cobra.Command {
	var asJSON bool
	var path string
	cmd := &cobra.Command{
		Use: "disk", Short: "Print how much of a file system is in use",
		Long:    "Print how much of the file system that a path is on is in use.\n\n" + statExitHelp,
		Example: "  causeway-agent stat disk\n  causeway-agent stat disk --path /home --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			amount, err := resources.Disk(path)
			if err != nil {
				return fmt.Errorf("%w; give --path of a file system that is there", err)
			}
			return printStat(cmd, asJSON, bytesOf("disk", resources.Host, amount))
		},
	}
	cmd.Flags().StringVar(&path, "path", "/", "any `path` on the file system")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func statFlags(cmd *cobra.Command, host, asJSON *bool) *cobra.Command {
	cmd.Flags().BoolVar(host, "host", false, "measure the whole machine, also from a container")
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
	return cmd
}

func bytesOf(resource string, scope resources.Scope, amount resources.Amount) measured {
	return measured{Resource: resource, Scope: scope, Unit: "bytes", Used: float64(amount.Used), Total: float64(amount.Total)}
}

func printStat(cmd *cobra.Command, asJSON bool, m measured) error {
	m.Version = statVersion
	text := m.String()
	if asJSON {
		document, err := json.Marshal(m)
		if err != nil {
			return fmt.Errorf("print output: %w", err)
		}
		text = string(document)
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
		return fmt.Errorf("print output: %w", err)
	}
	return nil
}

// String is "1.5/7.8 GiB (19%)".
func (m measured) String() string {
	used, total, unit := m.Used, m.Total, m.Unit
	decimals := 2
	if unit == "bytes" {
		decimals = 1
		for _, next := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
			if total < 1024 {
				break
			}
			used, total, unit = used/1024, total/1024, next
		}
	}
	share := 0.0
	if total > 0 {
		share = 100 * used / total
	}
	return fmt.Sprintf("%s/%s %s (%.0f%%)", short(used, decimals), short(total, decimals), unit, share)
}

// short leaves out zeros that say nothing.
func short(value float64, decimals int) string {
	text := strconv.FormatFloat(value, 'f', decimals, 64)
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text
	}
	return strconv.FormatFloat(number, 'f', -1, 64)
}
