package browser

const systemOpener = "/usr/bin/open"

// desktop: a Mac has one, but not for who came in by ssh.
func (o Opener) desktop() bool { return o.getenv("SSH_CONNECTION") == "" }
