// Package packagetest holds the packages to what they promise. Their scripts
// run under dash with recorded tools, which needs no privilege. On real systemd
// hosts (CAUSEWAY_RIGS=all) apt installs, upgrades, downgrades, removes and
// purges them, under a steady load of lookups and an SSH session; an inventory
// of the host before and after tells what is left. rpm does the same in a
// scratch root.
package packagetest
