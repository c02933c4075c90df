package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// spread is a median with its inter-quartile range.
type spread struct{ q1, median, q3 float64 }

func spreadOf(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	return spread{quantile(sorted, 0.25), quantile(sorted, 0.5), quantile(sorted, 0.75)}
}

// quantile interpolates between the two nearest ranks; NaN of nothing.
func quantile(sorted []float64, at float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	place := at * float64(len(sorted)-1)
	low := int(place)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (place-float64(low))*(sorted[high]-sorted[low])
}

// target is a bar: a ratio to the peer, or an amount of ours where the peer is
// no yardstick.
type target struct {
	limit   float64
	atLeast bool // else at most
	amount  bool // of ours, else of the ratio
	stretch string
}

func (t *target) String() string {
	if t == nil {
		return "–"
	}
	sign := "≤"
	if t.atLeast {
		sign = "≥"
	}
	text := sign + " " + number(t.limit)
	if !t.amount {
		text += " ×"
	}
	if t.stretch != "" {
		text += " (" + t.stretch + ")"
	}
	return text
}

// verdict says that a bar is not met only if the whole inter-quartile range is
// on the wrong side of it, and met if the median is on the right one.
func (t *target) verdict(s spread) string {
	if t == nil || math.IsNaN(s.median) {
		return "–"
	}
	right := func(value float64) bool {
		if t.atLeast {
			return value >= t.limit
		}
		return value <= t.limit
	}
	switch {
	case right(s.median):
		return "met"
	case right(s.q1) || right(s.q3):
		return "noisy"
	}
	return "not met"
}

// row is one line of the report.
type row struct {
	metric, unit string
	ours, peer   []float64 // measured in turn: equal length, or no peer
	target       *target
	note         string
}

// ratios leaves out the pairs in which the peer cost nothing that can be measured.
func (r row) ratios() []float64 {
	var ratios []float64
	for i := range min(len(r.ours), len(r.peer)) {
		if r.peer[i] == 0 {
			continue
		}
		ratios = append(ratios, r.ours[i]/r.peer[i])
	}
	return ratios
}

// cells are the columns of the report.
func (r row) cells() []string {
	ours, ratio := spreadOf(r.ours), spreadOf(r.ratios())
	peerText, ratioText := "–", "–"
	if len(r.peer) > 0 {
		peerText = number(spreadOf(r.peer).median) + " " + r.unit
		if len(r.ratios()) > 0 {
			ratioText = fmt.Sprintf("%.2f (%.2f–%.2f)", ratio.median, ratio.q1, ratio.q3)
		}
	} else if len(r.ours) > 1 {
		ratioText = fmt.Sprintf("(ours %s–%s)", number(ours.q1), number(ours.q3))
	}
	judged := ratio
	if r.target != nil && r.target.amount {
		judged = ours
	}
	return []string{r.metric, number(ours.median) + " " + r.unit, peerText, ratioText, r.target.String(), r.target.verdict(judged)}
}

// number has three significant digits, and no exponent.
func number(value float64) string {
	switch size := math.Abs(value); {
	case math.IsNaN(value):
		return "–"
	case size >= 100 || value == math.Trunc(value):
		return strconv.FormatFloat(value, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(value, 'f', 1, 64)
	case size >= 1:
		return strconv.FormatFloat(value, 'f', 2, 64)
	}
	return strconv.FormatFloat(value, 'f', 3, 64)
}
