// Package webterm opens the terminal's page of a real causeway-server in a real
// browser (headless Chromium) and works in a real workspace through it. All of it
// runs on loopback addresses: the server's own peer and the agent are in user
// space, so neither root nor TUN devices are needed. A front between browser and
// server can be away, as networks are.
//
// CAUSEWAY_RIGS=sample signs in, types and reloads; CAUSEWAY_RIGS=all everything.
// CAUSEWAY_SCREENSHOTS names a directory for pictures of the pages.
package webterm
