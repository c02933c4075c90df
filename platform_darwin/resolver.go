package platform

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// ownershipMark begins the first line of each resolver file of ours. Later
// versions may word the rest otherwise, never this.
const ownershipMark = "# Added by Causeway,"

// ownershipLine is the first line of what this version writes.
const ownershipLine = ownershipMark + " which removes it when the tunnel goes down; edits are lost."

// maxNameservers is MAXNS of resolver(5): what follows is not read.
const maxNameservers = 3

// resolverFile is one entry of the directory of resolver files.
type resolverFile struct {
	name    string
	ours    bool
	content []byte // of ours only
}

// encodeResolver writes the content of a file: a line for each server, because
// several in one line are not understood.
func encodeResolver(servers []netip.Addr) []byte {
	var text strings.Builder
	text.WriteString(ownershipLine + "\n")
	for _, server := range servers[:min(len(servers), maxNameservers)] {
		fmt.Fprintf(&text, "nameserver %s\n", server)
	}
	return []byte(text.String())
}

// isOurs tells by the first line.
func isOurs(content []byte) bool { return bytes.HasPrefix(content, []byte(ownershipMark)) }

// checkFileName refuses a suffix that would be more than the name of a file in
// the directory. The confinement of os.Root would hold too; it would not keep
// a name from meaning another domain than was asked for.
func checkFileName(suffix string) error {
	switch {
	case suffix == "" || strings.HasPrefix(suffix, ".") || strings.HasSuffix(suffix, "."):
		return fmt.Errorf("name resolver file %q: it is empty, or begins or ends with a dot", suffix)
	case strings.ContainsAny(suffix, "/\\:\x00") || strings.Contains(suffix, ".."):
		return fmt.Errorf("name resolver file %q: it has one of / \\ : .. or a zero byte", suffix)
	}
	return nil
}

// resolverPlan is what has to be done, in this order.
type resolverPlan struct {
	write   []string // made, or replaced in one step; all get the same content
	remove  []string // once all of those stand
	foreign []string // wanted, but somebody else has a file of that name
}

// planResolver compares the directory with what is wanted of it. The volume of
// a Mac does not tell upper from lower case, so a foreign "Coder" is in the way
// of our "coder".
func planResolver(have []resolverFile, suffixes []string, content []byte) resolverPlan {
	var plan resolverPlan
	for _, suffix := range suffixes {
		at := slices.IndexFunc(have, func(f resolverFile) bool { return strings.EqualFold(f.name, suffix) })
		switch {
		case slices.Contains(plan.write, suffix):
		case at < 0 || have[at].ours && !bytes.Equal(have[at].content, content):
			plan.write = append(plan.write, suffix)
		case !have[at].ours && !slices.Contains(plan.foreign, have[at].name):
			plan.foreign = append(plan.foreign, have[at].name)
		}
	}
	for _, f := range have {
		if f.ours && !slices.ContainsFunc(suffixes, func(s string) bool { return strings.EqualFold(f.name, s) }) {
			plan.remove = append(plan.remove, f.name)
		}
	}
	slices.Sort(plan.write)
	slices.Sort(plan.remove)
	slices.Sort(plan.foreign)
	return plan
}
