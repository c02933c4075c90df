// Package metadata runs the scripts whose output the control plane shows beside
// a workspace, each at its own interval, and tells their results. Collecting
// never waits for telling: of a key the latest result counts.
package metadata
