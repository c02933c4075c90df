// Package agentwine runs the agent of Windows under Wine against a control plane
// of Linux, with a user's node between them.
package agentwine
