package main

import (
	"math"
	"slices"
	"testing"
)

func TestSpread(t *testing.T) {
	for name, test := range map[string]struct {
		values []float64
		want   spread
	}{
		"one":      {[]float64{7}, spread{7, 7, 7}},
		"odd":      {[]float64{5, 1, 3, 2, 4}, spread{2, 3, 4}},
		"even":     {[]float64{4, 1, 3, 2}, spread{1.75, 2.5, 3.25}},
		"one wild": {[]float64{1, 1, 1, 1, 100}, spread{1, 1, 1}},
	} {
		if got := spreadOf(test.values); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	if got := spreadOf(nil); !math.IsNaN(got.median) {
		t.Errorf("nothing: %v, want NaN", got)
	}
}

func TestVerdict(t *testing.T) {
	least, most := &target{limit: 0.95, atLeast: true}, &target{limit: 1.1}
	for name, test := range map[string]struct {
		target *target
		spread spread
		want   string
	}{
		"above the floor":          {least, spread{0.97, 1, 1.1}, "met"},
		"on the floor":             {least, spread{0.95, 0.95, 0.95}, "met"},
		"median above, range over": {least, spread{0.9, 0.96, 1.1}, "met"},
		"median below, range over": {least, spread{0.8, 0.94, 0.96}, "noisy"},
		"all below":                {least, spread{0.8, 0.9, 0.94}, "not met"},
		"under the ceiling":        {most, spread{0.9, 1, 1.05}, "met"},
		"over, range under":        {most, spread{1, 1.2, 1.3}, "noisy"},
		"all over":                 {most, spread{1.2, 1.3, 1.4}, "not met"},
		"no target":                {nil, spread{1, 1, 1}, "–"},
		"nothing measured":         {most, spreadOf(nil), "–"},
	} {
		if got := test.target.verdict(test.spread); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestCells(t *testing.T) {
	paired := row{
		metric: "rate", unit: "Mbit/s", ours: []float64{90, 200, 110}, peer: []float64{100, 100, 100},
		target: &target{limit: 0.95, atLeast: true, stretch: "1.00"},
	}
	want := []string{"rate", "110 Mbit/s", "100 Mbit/s", "1.10 (1.00–1.55)", "≥ 0.950 × (1.00)", "met"}
	if got := paired.cells(); !slices.Equal(got, want) {
		t.Errorf("pairs: %q, want %q", got, want)
	}
	// The peer is for comparison only; the amount is what counts.
	amount := row{metric: "RSS", unit: "MB", ours: []float64{41.26}, peer: []float64{7}, target: &target{limit: 30, amount: true}}
	want = []string{"RSS", "41.3 MB", "7 MB", "5.89 (5.89–5.89)", "≤ 30", "not met"}
	if got := amount.cells(); !slices.Equal(got, want) {
		t.Errorf("amount: %q, want %q", got, want)
	}
	free := row{metric: "m", unit: "s", ours: []float64{1}, peer: []float64{0}}
	if got := free.cells(); got[3] != "–" {
		t.Errorf("the ratio to nothing is %q", got[3])
	}
}
