package main

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"time"
)

// figures are what a measuring command prints as JSON: by name, one value for
// each repetition.
type figures map[string][]float64

func (f figures) add(name string, value float64) { f[name] = append(f[name], value) }

func (f figures) print() error { return json.NewEncoder(os.Stdout).Encode(f) }

// percentile is the value that so many of the samples do not exceed, by the
// nearest rank.
func percentile(samples []time.Duration, percent float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(percent / 100 * float64(len(sorted))))
	return sorted[max(rank-1, 0)]
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
