// Package coverage holds no code: its test checks that each rule of
// docs/protocol-coverage.md names a test that exists.
package coverage
