// Package crashmatrix kills the daemon at every step of its journal of host
// changes, on real systemd hosts of each flavour, and looks whether the host
// went on resolving public names, whether the next start puts things right, and
// whether `causewayd cleanup` leaves the host as it was before the first start.
//
// The cells are not listed here. The daemon is built with the tag crashmatrix,
// a run without a crash writes its steps down, and each becomes a cell. Most hosts
// run the daemon bare, so that nothing mends what a crash has left; on those
// with the unit systemd starts it anew and keeps its TUN device.
package crashmatrix
