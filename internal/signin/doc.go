// Package signin signs in to a real server by every way there is: the server,
// the daemon and the command line are processes on a host of their own, and an
// HTTP client that reads pages and fills in forms is the browser.
package signin
