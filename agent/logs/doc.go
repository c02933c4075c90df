// Package logs sends what scripts print to the control plane: each line once,
// in order, over however many connections that takes, and never so that the
// one who prints has to wait.
package logs
