// Package agenthost installs the agent as a service on systemd hosts.
package agenthost
