// Command demo shows the main job with real parts, in network namespaces of
// its own: a desktop behind a NAT reaches an agent behind another by name.
// `make demo` runs it; it needs Linux and root.
package main
