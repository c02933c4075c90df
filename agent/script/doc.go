// Package script runs the workspace's scripts: when the agent starts, before it
// ends, and at times. Each runs as a process group of its own, one run of each
// at a time; what they print goes to the control plane and to files.
package script
