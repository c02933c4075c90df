package darwin

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// parse reads a property list strictly: a dict has a key before each value, and
// there is nothing that plist(5) does not know.
func parse(t testing.TB, content []byte) map[string]any {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(content))
	for {
		token, err := decoder.Token()
		if err != nil {
			t.Fatal("no plist element:", err)
		}
		if start, ok := token.(xml.StartElement); ok {
			if start.Name.Local != "plist" || len(start.Attr) != 1 || start.Attr[0].Value != "1.0" {
				t.Fatalf("the root is %+v", start)
			}
			break
		}
	}
	dict, ok := value(t, decoder).(map[string]any)
	if !ok || value(t, decoder) != nil {
		t.Fatal("the root does not hold one dict")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) && err != nil {
		t.Fatal(err)
	}
	return dict
}

// value reads the next element; nil is the end of the one around it.
func value(t testing.TB, decoder *xml.Decoder) any {
	t.Helper()
	for {
		token, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.EndElement:
			return nil
		case xml.CharData:
			if strings.TrimSpace(string(token)) != "" {
				t.Fatalf("text %q outside an element", token)
			}
		case xml.StartElement:
			return element(t, decoder, token)
		}
	}
}

type key string

func element(t testing.TB, decoder *xml.Decoder, start xml.StartElement) any {
	t.Helper()
	switch start.Name.Local {
	case "dict":
		dict := map[string]any{}
		for {
			k := value(t, decoder)
			if k == nil {
				return dict
			}
			name, ok := k.(key)
			if !ok || dict[string(name)] != nil {
				t.Fatalf("%v is no key, or comes twice", k)
			}
			v := value(t, decoder)
			if _, isKey := v.(key); v == nil || isKey {
				t.Fatalf("key %s has no value", name)
			}
			dict[string(name)] = v
		}
	case "array":
		list := []any{}
		for v := value(t, decoder); v != nil; v = value(t, decoder) {
			list = append(list, v)
		}
		return list
	}
	var text string
	if err := decoder.DecodeElement(&text, &start); err != nil {
		t.Fatal(err)
	}
	switch start.Name.Local {
	case "key":
		return key(text)
	case "string":
		return text
	case "true", "false":
		return start.Name.Local == "true"
	case "integer":
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Fatalf("unknown element %s", start.Name.Local)
	return nil
}

// job is what launchd is to read.
func job(arguments ...any) map[string]any {
	return map[string]any{
		"Label": "com.causewayhq.causewayd", "ProgramArguments": arguments, "UserName": "root",
		"RunAtLoad": true, "KeepAlive": true, "ThrottleInterval": 1, "ExitTimeOut": 25, "ProcessType": "Interactive",
		"SoftResourceLimits": map[string]any{"NumberOfFiles": 8192}, "StandardErrorPath": "/Library/Logs/Causeway/causewayd.log",
		"AssociatedBundleIdentifiers": []any{"com.causewayhq.causeway"},
	}
}

func TestRender(t *testing.T) {
	content, err := Render(Daemon{Program: "/usr/local/bin/causewayd"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := parse(t, content), job("/usr/local/bin/causewayd", "run"); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	golden, err := os.ReadFile("testdata/causewayd.plist")
	if err != nil || !bytes.Equal(content, golden) {
		t.Errorf("differs from testdata/causewayd.plist (%v):\n%s", err, content)
	}
}

func TestRenderRefuses(t *testing.T) {
	for _, daemon := range []Daemon{{}, {Program: "causewayd"}, {Program: "/a/../b"}, {Program: "/a/"}, {Program: "/a\x00"}, {Program: "/a", Args: []string{"run", "\x1b"}}, {Program: "/\xff"}} {
		if content, err := Render(daemon); err == nil {
			t.Errorf("%+v became\n%s", daemon, content)
		}
	}
}

// FuzzRender: every argument that is taken is read back as it was, and nothing
// in it becomes markup.
func FuzzRender(f *testing.F) {
	f.Add("/opt/a & b/causewayd", "--state-dir=</string><true/>")
	f.Add("/x", "{{.Label}}\n\t\"'")
	f.Fuzz(func(t *testing.T, program, arg string) {
		content, err := Render(Daemon{Program: program, Args: []string{"run", arg}})
		if err != nil {
			return
		}
		if got, want := parse(t, content), job(program, "run", arg); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	})
}
