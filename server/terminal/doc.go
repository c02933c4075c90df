// Package terminal serves the pages of workspaces: what agents there are, and a
// terminal of each in the browser. The terminal's websocket is the API's
// (server/api/pty.go); these pages only show, and change nothing.
//
// The page of a terminal is the one place of this server with a script, so its
// policy allows scripts from this server alone, none inline. Style elements need
// the nonce of the answer; style attributes are free, because the emulator
// writes colours with them and they cannot load or run anything under this policy.
package terminal
