// Package rigtest is what the tests of the long rigs have in common: how they
// are asked for, the programs that they share, and how they wait and report.
//
// CAUSEWAY_RIGS says which rigs run: nothing none, "sample" those that make test
// runs, "all" those of make e2e. CAUSEWAY_BIN names a directory of programs that
// are built already, for somebody at work on the tests.
package rigtest
