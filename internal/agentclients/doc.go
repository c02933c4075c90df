// Package agentclients holds the workspace's end to real clients: OpenSSH, scp,
// sftp, rsync, git and sshfs, through a real tunnel to a real agent in another
// network, under the name that the system resolves.
package agentclients
