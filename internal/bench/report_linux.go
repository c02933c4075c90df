package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

const (
	// quietPSI is the share of time in percent that somebody waited for a CPU,
	// above which a machine is too busy for a verdict to count.
	quietPSI = 10
	// quietCanary is the inter-quartile range of the bare wire's rate, as a part
	// of its median, above which the same holds.
	quietCanary = 0.15
)

// facts say where and when the figures come from.
type facts struct {
	commit, machine string
	began           time.Time
	took            time.Duration
	pairs           int
	quick           bool
	psi             float64 // cpu some avg10 before the first measurement, NaN-free: -1 if unknown
	canary          spread  // Mbit/s
	steal           float64 // percent of CPU time that the hypervisor took during the run
	stealBegan      [2]float64
}

func gatherFacts(b *bench) facts {
	f := facts{began: time.Now(), commit: output("git", "describe", "--always", "--dirty", "--abbrev=12"), pairs: b.pairs, quick: b.quick, psi: psi()}
	model := "unknown CPU"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
			}
		}
	}
	f.machine = fmt.Sprintf("%d × %s, Linux %s, %s", runtime.NumCPU(), model, output("uname", "-r"), runtime.Version())
	f.stealBegan = stolen()
	return f
}

func (f *facts) finish(b *bench) {
	f.took = time.Since(f.began)
	f.canary = spreadOf(b.canaries)
	now := stolen()
	if total := now[1] - f.stealBegan[1]; total > 0 {
		f.steal = 100 * (now[0] - f.stealBegan[0]) / total
	}
}

// quiet says whether the machine was fit to judge by.
func (f *facts) quiet() bool {
	return f.psi >= 0 && f.psi < quietPSI && (f.canary.q3-f.canary.q1) <= quietCanary*f.canary.median
}

func output(program string, args ...string) string {
	text, err := exec.Command(program, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

func psi() float64 {
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return -1
	}
	_, rest, _ := strings.Cut(string(text), "avg10=")
	field, _, _ := strings.Cut(rest, " ")
	value, err := strconv.ParseFloat(field, 64)
	if err != nil {
		return -1
	}
	return value
}

// stolen is the stolen and the whole CPU time since boot, in ticks.
func stolen() (times [2]float64) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return times
	}
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line)[1:] {
		value, err := strconv.ParseFloat(field, 64)
		if err != nil || i > 7 { // guest time is part of user time
			break
		}
		if i == 7 {
			times[0] = value
		}
		times[1] += value
	}
	return times
}

// table is the report, in Markdown that reads well as it is.
func table(f facts, rows []row) string {
	var text strings.Builder
	text.WriteString("# Bench report\n\n")
	fmt.Fprintf(&text, "Commit %s, %s, %d pairs in %s.\n", f.commit, f.began.UTC().Format("2006-01-02 15:04 UTC"), f.pairs, f.took.Round(time.Second))
	fmt.Fprintf(&text, "Machine: %s. Before: PSI cpu some avg10 %.1f. Canary (bare veth): %s Mbit/s, inter-quartile range %s–%s. Stolen CPU time: %.1f %%.\n",
		f.machine, f.psi, number(f.canary.median), number(f.canary.q1), number(f.canary.q3), f.steal)
	if !f.quiet() {
		fmt.Fprintf(&text, "\n**The machine was not quiet (PSI ≥ %d or canary spread > %.0f %%): ratios and CPU times are a hint, absolute rates are none, and \"met\" here is no proof.**\n", quietPSI, quietCanary*100)
	}
	if f.quick {
		text.WriteString("\n**A quick run: too few pairs for a verdict to count.**\n")
	}
	text.WriteString("\nOurs and the peer were measured in turn; the ratio is the median of the paired ratios, with its inter-quartile range. " +
		"\"Not met\" needs the whole range on the wrong side, \"noisy\" a median there.\n\n")
	lines := [][]string{{"metric", "ours", "peer", "ratio (IQR)", "target", "verdict"}}
	for _, r := range rows {
		lines = append(lines, r.cells())
	}
	align(&text, lines)
	text.WriteString("\n")
	for _, r := range rows {
		if r.note != "" {
			fmt.Fprintf(&text, "- %s: %s\n", r.metric, r.note)
		}
	}
	return text.String()
}

func align(text *strings.Builder, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for n, line := range lines {
		for i, cell := range line {
			fmt.Fprintf(text, "| %s%s ", cell, strings.Repeat(" ", widths[i]-len([]rune(cell))))
		}
		text.WriteString("|\n")
		if n == 0 {
			for _, width := range widths {
				text.WriteString("|" + strings.Repeat("-", width+2))
			}
			text.WriteString("|\n")
		}
	}
}
