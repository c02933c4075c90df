package system

// What people do on this system.
const (
	asRoot        = "sudo "
	seeLog        = "its log: sudo journalctl -u causewayd -n 20"
	refusedRemedy = "look at what systemd says: systemctl status causewayd"
)
