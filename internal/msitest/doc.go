// Package msitest tests the packages of Windows and macOS as far as Linux can:
// what their lists say (CAUSEWAY_RIGS=sample), and what an installer does under
// Wine (CAUSEWAY_RIGS=all): install, upgrade, refuse a downgrade, remove and roll
// back.
package msitest
