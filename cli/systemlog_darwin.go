package cli

// systemLog is where the system keeps the daemon's log.
const systemLog = "/Library/Logs/Causeway/causewayd.log"
