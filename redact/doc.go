// Package redact takes out of a text what must not leave this machine with it:
// the one place that decides what a support bundle may hold. What is known to be
// a secret goes wherever it stands, also encoded; what looks like one goes too.
// At the strict level names and addresses become aliases, the same for the same,
// so that what happened can still be followed.
//
// It errs on the side of taking out too much. It is no licence to put secrets
// into texts: types that hold them show nothing of themselves.
package redact
