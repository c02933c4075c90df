package doctor

// words are what people do on one operating system, with that system's own
// programs. What a unit of systemd needs is not among them: only where there is
// one it is spoken of.
type words struct {
	run     string // before a command that only an administrator may run
	restart string // the service: such a command
	log     string // where the daemon's log is
	kill    string // how a process is ended that does not listen
	look    string // how an interface is looked at; %s is its name
	linkUp  string // how one is switched on, by an administrator; %s is its name
	setTime string // how the clock is set
	// environment is where the service gets its own from.
	environment string
}

var linuxWords = words{
	run: "run: sudo ", restart: "systemctl restart causewayd", log: "sudo journalctl -u causewayd -n 20", kill: "sudo kill -9 and its number",
	look: "ip -d link show %s", linkUp: "sudo ip link set %s up", setTime: "here: timedatectl, and sudo timedatectl set-ntp true",
	environment: "where the service gets it (systemctl show causewayd -p Environment; sudo systemctl edit causewayd)",
}

var darwinWords = words{
	run: "run: sudo ", restart: "causewayd restart", log: "/Library/Logs/Causeway/causewayd.log", kill: "sudo kill -9 and its number",
	look: "ifconfig %s", linkUp: "sudo ifconfig %s up", setTime: "here: System Settings, General, Date & Time",
	environment: "where the service gets it (/Library/LaunchDaemons)",
}

var windowsWords = words{
	run: "run in a terminal that was opened as administrator: ", restart: "causewayd restart", log: `C:\ProgramData\Causeway\Logs\causewayd.log`,
	kill: "taskkill /F /PID and its number, as administrator", look: `netsh interface show interface name="%s"`,
	linkUp: `as administrator netsh interface set interface name="%s" admin=enabled`, setTime: "here: w32tm /query /status, and as administrator w32tm /resync",
	environment: "in the system's environment variables",
}
