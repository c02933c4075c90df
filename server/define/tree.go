package define

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// What the YAML library is given: its time and memory grow with the square of
// the nesting and of the number of keys. The largest definition needs some 5,000
// tokens, and nests four deep.
const (
	tokenLimit = 20_000
	nestLimit  = 16
)

type kind int

const (
	nothing kind = iota
	text
	number
	truth
	list
	mapping
)

func (k kind) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "a list", "a mapping"}[k]
}

// node is one value of a document, whichever language it was written in.
type node struct {
	line    int
	kind    kind
	text    string // of text, number and truth
	items   []node
	members []member
}

type member struct {
	line int
	key  string
	node node
}

// parse reads the bytes of a document. A document that cannot be read at all has
// one problem.
func parse(data []byte) (node, *Problem) {
	switch at := bytes.IndexByte(data, 0); {
	case len(data) > DocumentLimit:
		return node{}, &Problem{Found: fmt.Sprintf("more than %d bytes", DocumentLimit), Want: "a shorter document: long scripts can stand in files of the workspace"}
	case !utf8.Valid(data):
		return node{}, &Problem{Found: "bytes that are not UTF-8", Want: "text in UTF-8"}
	case at >= 0:
		return node{}, &Problem{Line: 1 + bytes.Count(data[:at], []byte("\n")), Found: "a NUL byte", Want: "text"}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(data) {
		return parseJSON(data)
	}
	return parseYAML(data)
}

// parseYAML is the YAML library, kept from what it is slow at, and from what no
// definition needs.
func parseYAML(data []byte) (_ node, problem *Problem) {
	defer func() {
		// The library has panics for strange input.
		if cause := recover(); cause != nil {
			problem = &Problem{Found: "text that is not YAML", Want: wantDocument}
		}
	}()
	if !bytes.HasSuffix(data, []byte("\n")) {
		// The library forgets a tag that nothing follows.
		data = append(bytes.Clone(data), '\n')
	}
	tokens := lexer.Tokenize(string(data))
	if problem := checkTokens(tokens); problem != nil {
		return node{}, problem
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		problem := &Problem{Found: "text that is not YAML", Want: wantDocument}
		var located yaml.Error
		if errors.As(err, &located) {
			problem.Found += " (" + strings.Join(strings.Fields(located.GetMessage()), " ") + ")"
			if at := located.GetToken(); at != nil && at.Position != nil {
				problem.Line = at.Position.Line
			}
		}
		return node{}, problem
	}
	result := node{line: 1}
	for i, document := range file.Docs {
		if i > 0 && document.Body != nil {
			return node{}, &Problem{Line: lineOf(document.Body), Found: "a second document", Want: "one"}
		}
		if i == 0 {
			result = fromYAML(document.Body)
		}
	}
	return result, nil
}

func checkTokens(tokens token.Tokens) *Problem {
	if len(tokens) > tokenLimit {
		return &Problem{Found: fmt.Sprintf("more than %d words and signs", tokenLimit), Want: "a shorter document"}
	}
	flow, dashes, dashLine := 0, 0, 0
	for _, each := range tokens {
		line := each.Position.Line
		switch each.Type {
		// What follows the sign may be a secret that lacks its quotes.
		case token.AnchorType, token.AliasType, token.TagType, token.MergeKeyType, token.MappingKeyType, token.DirectiveType:
			return &Problem{Line: line, Found: fmt.Sprintf("YAML's %q", each.Value[:min(1, len(each.Value))]), Want: "plain values; a text that begins with this sign needs quotes"}
		case token.InvalidType:
			// The library's own words for it: a tab in a script, or between values, is good.
			if strings.Contains(each.Error, "tab character") || strings.Contains(each.Error, "'\t'") {
				return &Problem{Line: line, Found: "a tab", Want: "spaces: YAML is indented by them only"}
			}
			return &Problem{Line: line, Found: "text that is not YAML", Want: wantDocument}
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow--
		case token.SequenceEntryType:
			if line != dashLine {
				dashes, dashLine = 0, line
			}
			dashes++
		default:
		}
		if flow > nestLimit || dashes > nestLimit {
			return &Problem{Line: line, Found: fmt.Sprintf("values nested more than %d deep", nestLimit), Want: wantDocument}
		}
	}
	return nil
}

func lineOf(from ast.Node) int {
	if from == nil || from.GetToken() == nil || from.GetToken().Position == nil {
		return 0
	}
	return from.GetToken().Position.Line
}

func fromYAML(from ast.Node) node {
	result := node{line: lineOf(from)}
	switch from := from.(type) {
	case *ast.StringNode:
		result.kind, result.text = text, from.Value
	case *ast.LiteralNode:
		result.kind, result.text = text, from.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		result.kind, result.text = number, from.GetToken().Value
	case *ast.BoolNode:
		result.kind, result.text = truth, fmt.Sprint(from.Value)
	case *ast.SequenceNode:
		result.kind = list
		for _, item := range from.Values {
			result.items = append(result.items, fromYAML(item))
		}
	case *ast.MappingNode:
		result.kind = mapping
		for _, pair := range from.Values {
			result.members = append(result.members, pairOf(pair))
		}
	case *ast.MappingValueNode:
		result.kind, result.members = mapping, []member{pairOf(from)}
	default: // null, in one of its forms, and comments
	}
	return result
}

func pairOf(pair *ast.MappingValueNode) member {
	// What looks like a number is a key all the same.
	key := fromYAML(pair.Key)
	if key.text == "" && pair.Key.GetToken() != nil {
		key.text = pair.Key.GetToken().Value
	}
	return member{line: lineOf(pair.Key), key: key.text, node: fromYAML(pair.Value)}
}

// lines counts the lines of a JSON document as it is read.
type lines struct {
	decoder *json.Decoder
	data    []byte
	offset  int
	line    int
}

// next is the next token and the line on which it ends.
func (l *lines) next() (json.Token, int, error) {
	read, err := l.decoder.Token()
	end := int(l.decoder.InputOffset())
	l.line += bytes.Count(l.data[l.offset:end], []byte("\n"))
	l.offset = end
	return read, l.line, err
}

// parseJSON reads valid JSON, by tokens, so that lines and keys that stand twice
// are known.
func parseJSON(data []byte) (node, *Problem) {
	reader := &lines{decoder: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1}
	reader.decoder.UseNumber()
	result, err := reader.value(0)
	if err != nil {
		return node{}, &Problem{Line: reader.line, Found: err.Error(), Want: wantDocument}
	}
	return result, nil
}

var errNesting = fmt.Errorf("values nested more than %d deep", nestLimit)

func (l *lines) value(depth int) (node, error) {
	read, line, err := l.next()
	if err != nil {
		return node{}, err
	}
	if depth > nestLimit {
		return node{}, errNesting
	}
	result := node{line: line}
	switch read := read.(type) {
	case string:
		result.kind, result.text = text, read
	case json.Number:
		result.kind, result.text = number, read.String()
	case bool:
		result.kind, result.text = truth, fmt.Sprint(read)
	case json.Delim:
		result.kind = list
		if read == '{' {
			result.kind = mapping
		}
		return result, l.fill(&result, depth)
	}
	return result, nil
}

// fill reads the rest of a list or a mapping.
func (l *lines) fill(into *node, depth int) error {
	for l.decoder.More() {
		entry := member{}
		if into.kind == mapping {
			key, line, err := l.next()
			if err != nil {
				return err
			}
			entry.key, _ = key.(string)
			entry.line = line
		}
		var err error
		if entry.node, err = l.value(depth + 1); err != nil {
			return err
		}
		if into.kind == mapping {
			into.members = append(into.members, entry)
		} else {
			into.items = append(into.items, entry.node)
		}
	}
	_, _, err := l.next()
	return err
}
