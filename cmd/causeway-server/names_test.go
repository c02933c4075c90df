package main

import (
	"fmt"
	"slices"
	"testing"
)

// TestNearNames: few, near and the nearest only; short names are near to nothing.
func TestNearNames(t *testing.T) {
	many := []string{"web1", "web2", "web3", "web4"}
	for _, test := range []struct {
		name        string
		names, want []string
	}{
		{"mian", []string{"main", "other", "min"}, []string{"min"}},
		{"mian", []string{"main", "other"}, []string{"main"}},
		{"MAINS", []string{"main", "mains2"}, []string{"mains2"}},
		{"a", []string{"b", "c"}, nil},
		{"ab", []string{"cd", "ac"}, []string{"ac"}},
		{"none", []string{"main", "myws"}, nil},
		{"web5", many, many[:nearMost]},
		{"", many, nil},
		{"x", nil, nil},
	} {
		if got := nearNames(test.name, test.names); !slices.Equal(got, test.want) {
			t.Errorf("%q among %v: %v, want %v", test.name, test.names, got, test.want)
		}
	}
	if got := unknownName(fmt.Errorf("x"), "a/", "mian", []string{"main"}, "all: list").Error(); got != "x; did you mean a/main? All: list" {
		t.Error(got)
	}
}
