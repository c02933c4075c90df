// Package platform brings a Mac to the state that a netcfg.Config describes,
// keeps it there, and undoes it.
//
// Each mechanism has a plan (pure), a part that acts, and a part that watches:
// addresses by ifconfig(8), routes by messages of route(4), names by files of
// resolver(5). Nothing here carries a build tag but the system itself (the
// files named *_darwin.go), so that Linux tests all of the logic against a
// stand-in of the system.
//
// What stays on a Mac after a crash are the resolver files alone: a utun
// interface, its addresses and its routes go with the process that opened it.
// A file is ours by its first line; what lacks it is foreign and never touched.
// Files of an earlier process are overwritten in place by the first Apply that
// wants names, and nothing is deleted before everything new stands.
package platform
