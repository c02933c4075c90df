package main

import (
	"io"
	"strings"
	"testing"
)

// TestMissed: a tool that is not there is told, a rig that nobody asked for is not.
func TestMissed(t *testing.T) {
	read := &report{byName: map[string]*cell{}}
	lines := `{"Action":"output","Package":"x/a","Test":"A","Output":"    a_test.go:1: needs groff\n"}
{"Action":"skip","Package":"x/a","Test":"A"}
{"Action":"output","Package":"x/a","Test":"B","Output":"    b_test.go:1: a rig: make e2e runs it\n"}
{"Action":"skip","Package":"x/a","Test":"B"}
{"Action":"skip","Package":"x/a","Test":"C"}
`
	if err := read.consume(strings.NewReader(lines), io.Discard); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(read.missed(), ", "); got != "a: A: needs groff, a: C: no reason" {
		t.Error(got)
	}
}

func TestReport(t *testing.T) {
	for name, test := range map[string]struct {
		lines                   string
		passed, failed, skipped int
		broken                  int
		figure                  string
	}{
		"all kinds": {`{"Action":"run","Package":"x/e2e","Test":"A"}
{"Action":"output","Package":"x/e2e","Test":"A","Output":"    a_test.go:1: figure: 3 s to direct\n"}
{"Action":"pass","Package":"x/e2e","Test":"A","Elapsed":1}
{"Action":"fail","Package":"x/e2e","Test":"B","Elapsed":1}
{"Action":"skip","Package":"x/e2e","Test":"C","Elapsed":1}
{"Action":"fail","Package":"x/e2e","Elapsed":1}
`, 1, 1, 1, 0, "- e2e: A: 3 s to direct"},
		"a table": {`{"Action":"run","Package":"x/e2e","Test":"A/b"}
{"Action":"output","Package":"x/e2e","Test":"A/b","Output":"    a_test.go:1: head: lost | late\n"}
{"Action":"output","Package":"x/e2e","Test":"A/b","Output":"    a_test.go:2: row: 0 | 3 s\n"}
{"Action":"pass","Package":"x/e2e","Test":"A/b","Elapsed":1}
`, 1, 0, 0, 0, "\n| | lost | late |\n|---|---|---|\n| b | 0 | 3 s |\n"},
		"never ended":    {`{"Action":"run","Package":"x/e2e","Test":"A"}` + "\n", 0, 1, 0, 0, ""},
		"did not build":  {"x/e2e/a.go:1: broken\n" + `{"Action":"fail","Package":"x/e2e"}` + "\n", 0, 1, 0, 1, ""},
		"nothing at all": {"", 0, 0, 0, 0, ""},
	} {
		read := &report{byName: map[string]*cell{}}
		if err := read.consume(strings.NewReader(test.lines), io.Discard); err != nil {
			t.Fatal(err)
		}
		passed, failed, skipped := read.count()
		if passed != test.passed || failed != test.failed || skipped != test.skipped || len(read.broken) != test.broken {
			t.Errorf("%s: %d passed, %d failed, %d skipped, broken %v", name, passed, failed, skipped, read.broken)
		}
		if text := read.markdown("T"); !strings.Contains(text, test.figure) {
			t.Errorf("%s: no %q in\n%s", name, test.figure, text)
		}
	}
}
