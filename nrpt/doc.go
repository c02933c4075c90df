// Package nrpt keeps the rules by which Windows sends names of our suffixes to
// our resolver: the Name Resolution Policy Table.
//
// The table is a set of registry keys in two places. One belongs to the DNS
// client; the other to group policy, and by its mere existence hides the first.
// [Plan] decides, from what was found, in which order to write and to delete so
// that no name which had a rule is ever without one, wherever it is interrupted;
// [Rules] carries plans out against a [Store]. Both know nothing of Windows; the
// registry, the notifications and the watch are in files named *_windows.go.
//
// Rules outlive a reboot on purpose. A rule whose resolver is not there yet
// makes the names of our suffix fail for a while; no rule would send them to
// whatever resolver the network offers, which tells it the names and has it
// answer, and others remember, that they do not exist.
package nrpt
