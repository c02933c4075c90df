package cli

import (
	"strings"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// printable is a text fit for a terminal. Names and errors come from the
// control plane, and control characters in them could rewrite the screen.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}

// shown is a copy of a message with all of its texts printable.
func shown[M proto.Message](message M) M {
	copied := proto.CloneOf(message)
	clean(copied.ProtoReflect())
	return copied
}

func clean(message protoreflect.Message) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
		case field.IsList():
			for list, i := value.List(), 0; i < list.Len(); i++ {
				if field.Message() != nil {
					clean(list.Get(i).Message())
				} else if field.Kind() == protoreflect.StringKind {
					list.Set(i, protoreflect.ValueOfString(printable(list.Get(i).String())))
				}
			}
		case field.Message() != nil:
			clean(value.Message())
		case field.Kind() == protoreflect.StringKind:
			message.Set(field, protoreflect.ValueOfString(printable(value.String())))
		}
		return true
	})
}
