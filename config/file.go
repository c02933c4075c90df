package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile bounds the settings file, in bytes. The settings need a few hundred;
// the rest is room for comments.
const maxFile = 64 << 10

// readFile reads and parses the settings file. A file that does not exist is
// an empty one, unless somebody named it.
func readFile(path string, named bool) (map[string]fileValue, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read config: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read config %s: not a regular file", path)
	}
	// Who can write it can choose where root writes, and what it runs.
	if err := checkWriters(path, info); err != nil {
		return nil, fmt.Errorf("read config %s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read config %s: %w", path, err)
	}
	values, err := parseFile(data)
	if err != nil {
		return nil, fmt.Errorf("read config %s: %w", path, err)
	}
	return values, nil
}

// fileValue is one value of the file and the line on which its key stands.
type fileValue struct {
	text string
	line int
}

// parseFile takes the file's bytes to checked values. Its errors name the line
// and the key.
func parseFile(data []byte) (map[string]fileValue, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d bytes", maxFile)
	}
	file, err := parse(data)
	if err != nil {
		return nil, err
	}
	values := map[string]fileValue{}
	for i, document := range file.Docs {
		if i > 0 && document.Body != nil {
			return nil, fmt.Errorf("line %d: a second YAML document", line(document.Body))
		}
		if err := parseBody(document.Body, values); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// parse is the YAML library, whose errors span lines and whose panics on
// strange input must not become ours: the daemon has to say which file it is.
func parse(data []byte) (file *ast.File, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			file, err = nil, fmt.Errorf("not YAML: the parser gave up: %v", cause)
		}
	}()
	file, err = parser.ParseBytes(data, 0)
	if err == nil {
		return file, nil
	}
	var located yaml.Error
	if errors.As(err, &located) && located.GetToken() != nil && located.GetToken().Position != nil {
		return nil, fmt.Errorf("line %d: not YAML: %s", located.GetToken().Position.Line, oneLine(located.GetMessage()))
	}
	return nil, fmt.Errorf("not YAML: %s", oneLine(err.Error()))
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func parseBody(body ast.Node, values map[string]fileValue) error {
	switch node := body.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode:
		return nil
	case *ast.MappingNode:
		for _, pair := range node.Values {
			if err := parsePair(pair, values); err != nil {
				return err
			}
		}
		return nil
	case *ast.MappingValueNode:
		return parsePair(node, values)
	default:
		return fmt.Errorf("line %d: expected \"key: value\", found a %s", line(body), strings.ToLower(body.Type().String()))
	}
}

func parsePair(pair *ast.MappingValueNode, values map[string]fileValue) error {
	at := line(pair.Key)
	key, ok := scalar(pair.Key)
	if !ok {
		return fmt.Errorf("line %d: a key must be a plain word", at)
	}
	setting, known := find(key)
	if !known {
		return fmt.Errorf("line %d: unknown key %q%s", at, key, suggestion(key))
	}
	if earlier, twice := values[key]; twice {
		return fmt.Errorf("line %d: key %q stands already on line %d", at, key, earlier.line)
	}
	text, ok := scalar(pair.Value)
	if !ok {
		return fmt.Errorf("line %d: key %q: expected one plain value", at, key)
	}
	if err := setting.check(text); err != nil {
		return fmt.Errorf("line %d: key %q: %w", at, key, err)
	}
	values[key] = fileValue{text: text, line: at}
	return nil
}

// scalar gives the text of a plain value as it is written in the file, so that
// no YAML rule turns a name into a number or a truth value.
func scalar(node any) (string, bool) {
	switch node := node.(type) {
	case *ast.StringNode:
		return node.Value, true
	case *ast.IntegerNode:
		return node.Token.Value, true
	case *ast.BoolNode:
		return node.Token.Value, true
	case *ast.FloatNode:
		return node.Token.Value, true
	}
	return "", false
}

func line(node ast.Node) int {
	if token := node.GetToken(); token != nil && token.Position != nil {
		return token.Position.Line
	}
	return 1
}

// suggestion names the key that was probably meant: same letters, without
// regard to case and separators, or one that starts alike.
func suggestion(key string) string {
	plain := func(text string) string {
		return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(text))
	}
	var names []string
	for _, s := range Schema() {
		names = append(names, s.Name)
		a, b := plain(s.Name), plain(key)
		if a == b || len(b) >= 3 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
			return fmt.Sprintf("; did you mean %q?", s.Name)
		}
	}
	return "; known are " + strings.Join(names, ", ")
}
