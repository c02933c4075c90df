package server

import (
	"errors"
	"log/slog"
	"testing"
)

func TestRelaysElsewhere(t *testing.T) {
	relays, err := ParseRelays([]string{"http://192.0.2.12:3340", "https://relay.example.com/"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(t.Context(), Config{Logger: slog.New(slog.DiscardHandler), DataDir: t.TempDir(), Listen: "127.0.0.1:0", STUNListen: STUNOff, Relays: relays})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	told := s.relayMap()
	if len(told.Regions) != 2 || len(told.Embedded) != 0 {
		t.Fatalf("regions %v, embedded %v; want the two that were named", told.Regions, told.Embedded)
	}
	plain, secure := told.Regions[1].Nodes[0], told.Regions[2].Nodes[0]
	if plain.HostName != "192.0.2.12" || plain.DERPPort != 3340 || plain.STUNPort != 0 || !told.PlainHTTP[plain.Name] {
		t.Errorf("relay without TLS: %+v, plain %v", plain, told.PlainHTTP)
	}
	if secure.HostName != "relay.example.com" || secure.DERPPort != 443 || told.PlainHTTP[secure.Name] {
		t.Errorf("relay with TLS: %+v, plain %v", secure, told.PlainHTTP)
	}
	for _, text := range []string{"192.0.2.12:3340", "ftp://relay.example.com", "https://", "https://relay.example.com/derp"} {
		var setting *SettingError
		if _, err := ParseRelays([]string{text}); !errors.As(err, &setting) || setting.Setting != "relays" {
			t.Errorf("ParseRelays(%q): %v", text, err)
		}
	}
}
