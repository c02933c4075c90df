package logs

import (
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
)

func queuedTexts(s *Source) []string {
	var result []string
	for _, line := range s.lines {
		result = append(result, line.GetOutput())
	}
	return result
}

func TestLines(t *testing.T) {
	tests := []struct {
		name   string
		writes []string
		want   []string
	}{
		{"whole", []string{"a\nb\n"}, []string{"a", "b"}},
		{"in pieces", []string{"a", "b\nc", "", "\n"}, []string{"ab", "c"}},
		{"no end", []string{"a\nb"}, []string{"a", "b"}},
		{"empty lines", []string{"\n\n", "a\n"}, []string{"", "", "a"}},
		{"of Windows", []string{"a\r", "\nb\r\n"}, []string{"a", "b"}},
		{"binary", []string{"\x00\xff\xfe\x80a\n", "\xc3", "\xa9\n"}, []string{"\uFFFD\uFFFDa", "é"}},
		{"nothing", nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source := newSender().Source(uuid.New())
			writer := source.Writer(agentv2.Log_ERROR)
			for _, each := range test.writes {
				if count, err := io.WriteString(writer, each); count != len(each) || err != nil {
					t.Errorf("wrote %d, %v", count, err)
				}
			}
			writer.Close()
			if got := queuedTexts(source); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			for _, line := range source.lines {
				if line.GetLevel() != agentv2.Log_ERROR {
					t.Errorf("level is %s", line.GetLevel())
				}
			}
		})
	}
}

func TestEndlessLine(t *testing.T) {
	source := newSender().Source(uuid.New())
	writer := source.Writer(agentv2.Log_INFO).(*lines)
	for range 100 {
		io.WriteString(writer, strings.Repeat("x", 1<<20))
		if len(writer.partial) > Limit {
			t.Fatalf("%d bytes are kept", len(writer.partial))
		}
	}
	io.WriteString(writer, "\nnext\n")
	got := queuedTexts(source)
	if len(got) != 2 || !strings.Contains(got[0], "left out") || got[1] != "next" {
		t.Errorf("got %d lines", len(got))
	}
}

// FuzzLines cuts the same output in two ways, which must not matter.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\xff\x00\n\n"), uint8(3))
	f.Add([]byte("no end"), uint8(0))
	f.Add([]byte("\r\n\r"), uint8(1))
	f.Fuzz(func(t *testing.T, output []byte, step uint8) {
		whole, pieces := newSender().Source(uuid.New()), newSender().Source(uuid.New())
		writer := whole.Writer(agentv2.Log_INFO)
		writer.Write(output)
		writer.Close()
		writer = pieces.Writer(agentv2.Log_INFO)
		for rest := output; len(rest) > 0; {
			count := min(int(step)+1, len(rest))
			writer.Write(rest[:count])
			rest = rest[count:]
		}
		writer.Close()
		got := queuedTexts(whole)
		if !slices.Equal(got, queuedTexts(pieces)) {
			t.Errorf("whole %q, in pieces %q", got, queuedTexts(pieces))
		}
		count := strings.Count(string(output), "\n")
		if len(output) > 0 && output[len(output)-1] != '\n' {
			count++
		}
		if len(got) != count {
			t.Errorf("%d lines of %d", len(got), count)
		}
		for _, line := range got {
			if !utf8.ValidString(line) || strings.ContainsAny(line, "\n\x00") {
				t.Errorf("line %q", line)
			}
		}
	})
}
