// Package doctorrig plants faults on a real systemd host, one after another,
// and has causeway doctor find and name each of them: nothing else may be
// blamed, and --fix may touch nothing that is not ours.
package doctorrig
