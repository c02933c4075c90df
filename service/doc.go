// Package service is the daemon: it owns what the user wants (which deployment,
// whose credentials, up or down), keeps that on disk, and supervises one tunnel
// so that the machine gets it.
//
// The start is linear and each of its steps has a number ([Failure]) that is
// the process's exit code, so that an exit code alone says where it went wrong.
// After the start nothing ends the daemon but its context: a tunnel that fails
// is a status with a cause and a remedy, and is tried again.
package service
