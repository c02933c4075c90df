package server

import (
	"errors"
	"log/slog"
	"strings"
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
}

func TestRelaysThatCannotBe(t *testing.T) {
	tests := []struct{ texts, want string }{
		{"192.0.2.12:3340", "want scheme, host and port only"},
		{"ftp://relay.example.com", "want scheme, host and port only"},
		{"https://", "want scheme, host and port only"},
		{"https://:443", "want scheme, host and port only"},
		{"https://relay.example.com/derp", "want scheme, host and port only"},
		{"https://relay.example.com?x=1", "want scheme, host and port only"},
		{"https://me:hidden@relay.example.com", "want scheme, host and port only"},
		{"https://relay.example.com:99999", "port 99999 does not exist; want 1 to 65535"},
		{"https://relay.example.com:0", "want 1 to 65535"},
		{"https://relay.example.com:9999999999999999999999", "want 1 to 65535"},
		{"https://relay.example.com:port", "want scheme, host and port only"},
		{"https://relay.example.com,https://relay.example.com", "relay.example.com:443, which is named already; name each relay once"},
		{"https://relay.example.com,https://b.example.com,https://RELAY.example.com:443/", "named already"},
		{"http://192.0.2.12:3340,https://192.0.2.12:3340", "192.0.2.12:3340, which is named already"},
	}
	for _, test := range tests {
		var setting *SettingError
		relays, err := ParseRelays(strings.Split(test.texts, ","))
		if !errors.As(err, &setting) || setting.Setting != "relays" || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("ParseRelays(%q): %v, %v", test.texts, relays, err)
		}
	}
	if relays, err := ParseRelays([]string{"https://192.0.2.12", "http://192.0.2.12", "https://[2001:db8::1]:65535"}); err != nil || len(relays) != 3 {
		t.Errorf("three relays: %v, %v", relays, err)
	}
}
