package tunnel

// environmentPlace is where the daemon's environment is set.
const environmentPlace = "systemctl edit causewayd, or the shell that runs it"
