// Package agentrig holds a real agent to a real control plane, both in the
// process of a test, and a user's node between them.
package agentrig
