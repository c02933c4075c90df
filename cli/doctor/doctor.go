// Package doctor finds out what is in the way between this host and its
// workspaces, names it, and mends what is ours.
//
//	doctor.go   what a check says, and the run of all of them
//	facts.go    what is measured: plain values, and the seam to what measures
//	checks.go   the checks, in order
//	judge_*.go  their judgements: pure functions of the facts
//	mend.go     what can be mended, and the only ways in which it is
//	probe*.go   the probes of this host; each file is one thing that is asked
//
// A check never says more than was measured, and one that needs another that
// failed says nothing: the first failure is the one to mend.
package doctor

import (
	"context"
	"slices"

	"github.com/causewayhq/causeway/localapi"
)

// Result of a check.
type Result string

// The results.
const (
	OK      Result = "ok"
	Warning Result = "warning" // it works, and something is not as it should be
	Failed  Result = "failed"
	Skipped Result = "skipped" // because of an earlier one, or there is nothing to check
)

// Finding is what a check says.
type Finding struct {
	Result Result
	// Cause is what was found, in one sentence; of a check that is well too.
	Cause string
	// Remedy is what to do about it; empty when nothing is to be done.
	Remedy string
	// Code is the exit code of a failure.
	Code localapi.Code
	// Mend is how --fix mends it; empty: it is not ours to mend.
	Mend Mend
	// Stops says that the checks which need this one can say nothing, although
	// it has not failed.
	Stops bool
	// Because is the check for whose sake this one was skipped; empty: there was
	// nothing to check, as the cause says.
	Because string
}

// Outcome is a check with what it found.
type Outcome struct {
	ID, Title string
	Finding
}

// Examine runs the checks in order. Each measures what it needs first, unless
// an earlier one has; report hears of a check before it begins (with no result)
// and when it is done.
func Examine(ctx context.Context, probes Probes, report func(Outcome)) []Outcome {
	return examineAs(ctx, here, probes, report)
}

func examineAs(ctx context.Context, says words, probes Probes, report func(Outcome)) []Outcome {
	facts := Facts{words: says}
	run := run{probes: probes, facts: &facts, measured: map[stage]bool{}}
	outcomes := make([]Outcome, 0, len(checks))
	for _, check := range checks {
		if ctx.Err() != nil {
			return outcomes
		}
		outcome := Outcome{ID: check.id, Title: check.title}
		report(outcome)
		if because := blocked(check, outcomes); because != "" {
			outcome.Finding = skippedFor(because)
		} else {
			run.measure(ctx, check.needs)
			outcome.Finding = check.judge(&facts)
		}
		if ctx.Err() != nil {
			return outcomes // what was cut short says nothing
		}
		report(outcome)
		outcomes = append(outcomes, outcome)
	}
	return outcomes
}

// blocked is the earliest check that keeps this one from saying anything, or "".
func blocked(check check, outcomes []Outcome) string {
	for _, earlier := range outcomes {
		if !slices.Contains(check.after, earlier.ID) {
			continue
		}
		switch {
		case earlier.Result == Failed, earlier.Stops:
			return earlier.ID
		case earlier.Result == Skipped && earlier.Because != "":
			return earlier.Because
		}
	}
	return ""
}

// Verdict is the worst result, and the exit code: that of the first failure.
func Verdict(outcomes []Outcome) (Result, localapi.Code) {
	worst := OK
	for _, outcome := range outcomes {
		switch outcome.Result {
		case Failed:
			return Failed, outcome.Code
		case Warning:
			worst = Warning
		case OK, Skipped:
		}
	}
	return worst, 0
}

// run measures each thing once.
type run struct {
	probes   Probes
	facts    *Facts
	measured map[stage]bool
}

func (r *run) measure(ctx context.Context, stages []stage) {
	for _, stage := range stages {
		if r.measured[stage] {
			continue
		}
		r.measured[stage] = true
		f := r.facts
		switch stage {
		case theDaemon:
			f.Daemon = r.probes.Daemon(ctx)
		case theTunnel:
			f.Tunnel = r.probes.Tunnel(ctx)
		case theProxies:
			f.Proxies = r.probes.Proxies(ctx, f.Tunnel)
		case theControl:
			f.Control = r.probes.Control(ctx, f.Tunnel, f.Proxies)
		case theHost:
			f.Host = r.probes.Host(ctx, f.Tunnel)
		case thePassage:
			f.Passage = r.probes.Passage(ctx, f.Tunnel)
		case theNames:
			f.Names = r.probes.Names(ctx, f.Tunnel)
		case theAgents:
			f.Agents = r.probes.Agents(ctx, f.Tunnel)
		case theComplaints:
			f.Complaints = r.probes.Complaints(ctx, f.Tunnel)
		}
	}
}
