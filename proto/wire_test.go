package proto

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

var update = flag.Bool("update", false, "write testdata/wire.txt; only ever for additions")

// TestWireNumbers compares every service, method, field number, type and enum
// value with the list that is known to interoperate. A change of a line breaks
// peers that are out there; new lines are fine.
func TestWireNumbers(t *testing.T) {
	var lines []string
	for _, file := range []protoreflect.FileDescriptor{tailnetv2.File_proto_tailnetv2_tailnet_proto, agentv2.File_proto_agentv2_agent_proto} {
		lines = append(lines, wireLines(file)...)
	}
	sort.Strings(lines)
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile("testdata/wire.txt", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/wire.txt")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, line := range lines {
		have[line] = true
	}
	for line := range strings.Lines(string(want)) {
		if line = strings.TrimSuffix(line, "\n"); !have[line] {
			t.Errorf("gone from the wire: %s", line)
		}
	}
	if got != string(want) && !t.Failed() {
		t.Error("new on the wire, not in testdata/wire.txt: run the test with -update")
	}
}

func wireLines(file protoreflect.FileDescriptor) []string {
	lines := enumLines(file.Enums())
	for i := range file.Services().Len() {
		service := file.Services().Get(i)
		for j := range service.Methods().Len() {
			method := service.Methods().Get(j)
			lines = append(lines, fmt.Sprintf("rpc /%s/%s %s%s -> %s%s", service.FullName(), method.Name(),
				stream(method.IsStreamingClient()), method.Input().FullName(), stream(method.IsStreamingServer()), method.Output().FullName()))
		}
	}
	return append(lines, messageLines(file.Messages())...)
}

func stream(is bool) string {
	if is {
		return "stream "
	}
	return ""
}

func messageLines(messages protoreflect.MessageDescriptors) []string {
	var lines []string
	for i := range messages.Len() {
		message := messages.Get(i)
		for j := range message.Fields().Len() {
			field := message.Fields().Get(j)
			kind := field.Kind().String()
			if field.Message() != nil {
				kind = string(field.Message().FullName())
			}
			lines = append(lines, fmt.Sprintf("%s %d %s %s %s", message.FullName(), field.Number(), field.Name(), field.Cardinality(), kind))
		}
		lines = append(lines, enumLines(message.Enums())...)
		lines = append(lines, messageLines(message.Messages())...)
	}
	return lines
}

func enumLines(enums protoreflect.EnumDescriptors) []string {
	var lines []string
	for i := range enums.Len() {
		for j := range enums.Get(i).Values().Len() {
			value := enums.Get(i).Values().Get(j)
			lines = append(lines, fmt.Sprintf("%s %s = %d", enums.Get(i).FullName(), value.Name(), value.Number()))
		}
	}
	return lines
}
