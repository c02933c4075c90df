package nrpt

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf16"
)

// Registry value types, as winnt.h numbers them.
const (
	regSZ      = 1
	regDWORD   = 4
	regMultiSZ = 7
)

// Value is one registry value, byte by byte.
type Value struct {
	Name string
	Type uint32
	Data []byte
}

// Rule is what one key of the table says, ours or not.
type Rule struct {
	ID          string
	Names       []string // ".coder" for a suffix, "." for all names
	Servers     string
	Comment     string
	DisplayName string
}

// Names of the values and their contents, as MS-GPNRPT 2.2.2 has them.
const (
	valueName        = "Name"
	valueServers     = "GenericDNSServers"
	valueOptions     = "ConfigOptions"
	valueVersion     = "Version"
	valueComment     = "Comment"
	valueDisplayName = "DisplayName"

	// version 2 is what Windows itself writes since Windows 8.
	version = 2
	// optionGenericServers says that GenericDNSServers counts (MS-GPNRPT 2.2.2.2).
	optionGenericServers = 0x8
	// serverSeparator has no space after it: with one, Windows ignores the
	// whole rule.
	serverSeparator = ";"
	// catchAll is the name of a rule for all names.
	catchAll = "."
	// maxNames is how many names Windows takes in one rule.
	maxNames = 50
)

// Marks of ownership: either is enough, so that rules are found again when the
// journal is lost, and also when somebody edited them.
const (
	mark        = "Names of your workspaces. Written and removed by Causeway."
	displayName = "Causeway"
	// namespace begins the identifier of every rule of ours; four hexadecimal
	// digits and a brace follow.
	namespace = "{BCB45848-9EE4-4D46-B5E6-C8BAB9F7"
)

// ruleID is the identifier of our n-th rule.
func ruleID(n int) string { return fmt.Sprintf("%s%04X}", namespace, n) }

func inNamespace(id string) bool {
	return len(id) == len(namespace)+5 && strings.EqualFold(id[:len(namespace)], namespace)
}

// encode returns the values of one rule, in the order in which they are to be
// written: the marks first, so that an unfinished rule is known for ours, and
// the names last, for a rule without names has no effect.
func encode(names []string, servers string) []Value {
	return []Value{
		{valueComment, regSZ, encodeText(mark)},
		{valueDisplayName, regSZ, encodeText(displayName)},
		{valueVersion, regDWORD, binary.LittleEndian.AppendUint32(nil, version)},
		{valueOptions, regDWORD, binary.LittleEndian.AppendUint32(nil, optionGenericServers)},
		{valueServers, regSZ, encodeText(servers)},
		{valueName, regMultiSZ, encodeTexts(names)},
	}
}

// encodeText is UTF-16, little endian, with a terminator.
func encodeText(text string) []byte {
	var data []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		data = binary.LittleEndian.AppendUint16(data, unit)
	}
	return append(data, 0, 0)
}

// encodeTexts ends each text, and then the list, with a terminator.
func encodeTexts(texts []string) []byte {
	var data []byte
	for _, text := range texts {
		data = append(data, encodeText(text)...)
	}
	return append(data, 0, 0)
}

// decode reads what it understands of any rule. What is missing, or of another
// type, is empty.
func decode(id string, values []Value) Rule {
	rule := Rule{ID: id}
	for _, v := range values {
		switch texts := decodeTexts(v); {
		case strings.EqualFold(v.Name, valueName):
			rule.Names = texts
		case len(texts) == 0:
		case strings.EqualFold(v.Name, valueServers):
			rule.Servers = texts[0]
		case strings.EqualFold(v.Name, valueComment):
			rule.Comment = texts[0]
		case strings.EqualFold(v.Name, valueDisplayName):
			rule.DisplayName = texts[0]
		}
	}
	return rule
}

// decodeTexts are the texts of a value up to the first empty one; for REG_SZ
// there is one at most. Registry editors leave terminators out and add more.
func decodeTexts(v Value) []string {
	if v.Type != regSZ && v.Type != regMultiSZ {
		return nil
	}
	var texts []string
	var units []uint16
	for data := v.Data; ; data = data[2:] {
		unit := uint16(0)
		if len(data) >= 2 {
			unit = binary.LittleEndian.Uint16(data)
		}
		if unit != 0 {
			units = append(units, unit)
			continue
		}
		if len(units) == 0 {
			return texts
		}
		texts = append(texts, string(utf16.Decode(units)))
		if units = nil; v.Type == regSZ || len(data) < 2 {
			return texts
		}
	}
}

// same is whether a key holds exactly these values, in whatever order.
func same(a, b []Value) bool {
	if len(a) != len(b) {
		return false
	}
	for _, v := range a {
		i := slices.IndexFunc(b, func(w Value) bool { return strings.EqualFold(v.Name, w.Name) })
		if i < 0 || v.Type != b[i].Type || !slices.Equal(v.Data, b[i].Data) {
			return false
		}
	}
	return true
}

// Want is what the table should say; the zero value is: nothing of ours.
type Want struct {
	names   []string // as in the registry, sorted, each once
	servers string
}

// NewWant checks suffixes, without dots around them, and the servers that
// answer for them.
func NewWant(suffixes []string, servers []netip.Addr) (Want, error) {
	if len(suffixes) == 0 {
		return Want{}, nil
	}
	var want Want
	for _, suffix := range suffixes {
		if err := checkSuffix(suffix); err != nil {
			return Want{}, err
		}
		want.names = append(want.names, "."+strings.ToLower(suffix))
	}
	slices.Sort(want.names)
	want.names = slices.Compact(want.names)
	if len(servers) == 0 {
		return Want{}, fmt.Errorf("no server answers for %q", suffixes)
	}
	texts := make([]string, len(servers))
	for i, server := range servers {
		if !server.IsValid() || server.Zone() != "" || server.IsUnspecified() || server.IsMulticast() {
			return Want{}, fmt.Errorf("address %q cannot be a server", server.String())
		}
		texts[i] = server.Unmap().String()
	}
	want.servers = strings.Join(texts, serverSeparator)
	return want, nil
}

// checkSuffix refuses above all the empty one, which would take all names.
func checkSuffix(suffix string) error {
	if len(suffix) > 253 {
		return fmt.Errorf("suffix of %d bytes, 253 are the most", len(suffix))
	}
	for label := range strings.SplitSeq(suffix, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("suffix %q has a label of %d bytes, 1 to 63 are allowed", suffix, len(label))
		}
		for _, b := range []byte(label) {
			if (b < 'a' || b > 'z') && (b < 'A' || b > 'Z') && (b < '0' || b > '9') && b != '-' && b != '_' {
				return fmt.Errorf("suffix %q has the character %q", suffix, b)
			}
		}
	}
	return nil
}
