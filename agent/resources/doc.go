// Package resources measures what the workspace uses of the machine: memory,
// processors, volumes. In a container, or a service with limits, its own limits
// and use are meant, not the host's.
//
// Monitor tells the control plane, if that wants to know; `causeway-agent stat`
// tells scripts.
package resources
