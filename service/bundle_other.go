//go:build !linux

package service

// networkParts are what every system tells. Routes and name servers are seen by
// causeway doctor, whose report is in the caller's half of a bundle.
func networkParts() []part { return []part{{"network/interfaces.txt", interfaces}} }

func searchDomains() []string { return nil }
