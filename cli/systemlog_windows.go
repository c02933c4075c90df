package cli

// systemLog is where the system keeps the daemon's log.
const systemLog = `C:\ProgramData\Causeway\Logs\causewayd.log`
